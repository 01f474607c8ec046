"""The critical-difference diagram: mean ranks on an axis, bars over methods that do not differ by more than noise.

Source: J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006), figures 1 and 2.
"""

from __future__ import annotations

import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtl_d2.comparison.paper_figure import PaperFigure, style
from mtl_d2.comparison.ranks import Ranking
from mtl_d2.report import charts

NAME = "critical_difference"
TITLE = "Critical difference of mean ranks"
AXIS = 270  # pixels (1/72 inch) from the first rank to the last
NUMBERS = 15  # ranks that are written on it at most
LETTER, SIDE = 6.3, 26  # pixels of a letter, and from the axis to a name
ROW, BAR = 19, 9  # from a name to the next, and from a bar to the next
TOP, ABOVE = 26, 22  # from the upper border to the critical difference, and from there to the axis
FONT = 10.5
RED = charts.COLORS[1]


def diagram(ranking: Ranking) -> PaperFigure:
    """The diagram as a figure for a paper."""
    with style():
        return PaperFigure(NAME, TITLE, caption(ranking), drawing(ranking))


def chart(ranking: Ranking) -> str:
    """The diagram as an element of a page."""
    with matplotlib.rc_context(charts.STYLE):
        return charts.element(drawing(ranking), TITLE)


def caption(ranking: Ranking) -> str:
    """How to read it."""
    bars = (
        "Bars join methods whose mean ranks are less than the critical difference (CD) apart: they are not told apart."
        if ranking.differ
        else "The bar joins all methods: by Friedman's test they are not told apart, whatever the critical difference."
    )
    return f"Mean ranks over {len(ranking.data_sets)} data sets, the best to the right. {bars}"


def drawing(ranking: Ranking) -> Figure:
    """The diagram by the style that is in force."""
    count, groups = len(ranking.methods), ranking.groups
    rows = math.ceil(count / 2)
    side = LETTER * max(len(_label(ranking, i)) for i in range(count)) + SIDE
    depth = 14 + BAR * len(groups) + ROW * rows  # below the axis
    width, height = AXIS + 2 * side, TOP + ABOVE + depth
    figure = Figure(figsize=(width / 72, height / 72), frameon=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-side, AXIS + side), ylim=(-depth, TOP + ABOVE))
    _axis(axes, ranking)
    for i, (first, last) in enumerate(groups):
        ends = [_place(ranking, ranking.means[j]) for j in (first, last)]
        height = -8 - BAR * i
        axes.plot([ends[0] + 3, ends[1] - 3], [height] * 2, color=RED, linewidth=3.5, solid_capstyle="round", zorder=3)
    for i in range(count):
        _method(axes, ranking, i, -14 - BAR * len(groups) - ROW * (i if i < rows else count - 1 - i))
    return figure


def _axis(axes: Axes, ranking: Ranking) -> None:
    """Ranks, and the length of the critical difference above them."""
    count = len(ranking.methods)
    axes.plot([0, AXIS], [0, 0], color=charts.TEXT, linewidth=1)
    for rank in range(1, count + 1):
        x = _place(ranking, rank)
        axes.plot([x, x], [0, 4], color=charts.TEXT, linewidth=1)
        if (rank - 1) % math.ceil(count / NUMBERS) == 0:
            axes.text(x, 6, str(rank), ha="center", va="bottom", color=charts.TEXT, fontsize=FONT)
    length = _place(ranking, 1) - _place(ranking, 1 + ranking.critical)
    shown = min(length, AXIS)
    cut = "" if length == shown else ", longer than the axis"
    height = ABOVE + 4
    axes.plot([0, shown], [height] * 2, color=charts.TEXT, linewidth=1.6, solid_capstyle="butt")
    for x in (0, shown) if not cut else (0,):
        axes.plot([x, x], [height - 3, height + 3], color=charts.TEXT, linewidth=1.6)
    axes.text(
        shown / 2, height + 5, f"CD = {ranking.critical:.2f}{cut}",
        ha="center", va="bottom", color=charts.TEXT, fontsize=FONT,
    )  # fmt: skip


def _method(axes: Axes, ranking: Ranking, i: int, y: float) -> None:
    """A line from the mean rank down and out to the name: of the better half to the right."""
    x = _place(ranking, ranking.means[i])
    right = i < math.ceil(len(ranking.methods) / 2)
    end = AXIS + SIDE - 8 if right else 8 - SIDE
    axes.plot([x, x, end], [0, y, y], color=charts.TEXT, linewidth=1)
    axes.text(
        end + (4 if right else -4), y, _label(ranking, i),
        ha="left" if right else "right", va="center", color=charts.TEXT, fontsize=FONT,
    )  # fmt: skip


def _label(ranking: Ranking, i: int) -> str:
    return f"{ranking.methods[i]}  {ranking.means[i]:.2f}"


def _place(ranking: Ranking, rank: float) -> float:
    """Of a rank on the axis, pixels from its left end: the best is on the right."""
    return AXIS * (1 - (rank - 1) / (len(ranking.methods) - 1))
