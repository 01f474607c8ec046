"""Charts of the page: matplotlib draws them, as SVG elements whose colours follow the page's light or dark mode.

Beside a drawing of curves stand their values, of which `charts.js` draws it anew when a reader zooms or hides one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.rcsetup import cycler
from matplotlib.ticker import EngFormatter, MaxNLocator

from mtl_d2.report.chart_values import curve_values
from mtl_d2.report.palette_of_curves import COLORS, dashes
from mtl_d2.report.series import Floats, Series, running_average, thinned

WIDTH, HEIGHT = 400, 230  # of the drawing; the page scales it
UPDATE = "update"  # label of an axis of whole numbers
FEW = 60  # fewer points than these are drawn larger
MAX_POINTS, MAX_VERTICES = 400, 240
STEPS = [1, 2, 5, 10]  # between ticks, times a power of ten
TEXT, RULE = "#5d6878", "#dfe3e9"
# What the page's style sheet calls these colours, and gives others in dark mode.
VARIABLES = {TEXT: "--soft", RULE: "--rule", **{color: f"--c{i}" for i, color in enumerate(COLORS)}}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text that can be found and copied, in the page's font
    "path.simplify": False,  # would drop lines of no length, which are dots
    "text.usetex": False, "figure.autolayout": False, "figure.constrained_layout.use": False,  # whatever the user has
    "font.size": 12, "lines.linewidth": 2.0, "lines.solid_capstyle": "round", "lines.scale_dashes": False,
    "axes.prop_cycle": cycler(color=COLORS),  # C0, C1, ...
    "axes.edgecolor": TEXT, "axes.labelcolor": TEXT,
    "axes.facecolor": "none", "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False,
    "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 1.0,
    "axes.xmargin": 0.0, "axes.ymargin": 0.04, "axes.formatter.limits": (-4, 5),
    "xtick.color": TEXT, "ytick.color": TEXT, "ytick.left": False,
    "figure.subplot.left": 0.12, "figure.subplot.right": 0.98,
    "figure.subplot.bottom": 0.17, "figure.subplot.top": 0.93,
}  # fmt: skip
# From a document of its own to an element of the page. Names of groups become classes: ids are unique in a page.
TIDIED = (
    (r"(?s)^.*?<svg[^>]*>|<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>", ""),
    (r'<g id="([A-Za-z.]+\d?[A-Za-z]*)[^"]*"', r'<g class="\1"'),
    (r"\bfont(-[a-z]+)?: [^;\"]*;? ?", ""),
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r">\s+<", "><"),
)


def plot(
    series: Sequence[Series],
    *,
    title: str,
    style: str = "smooth",
    errors: Sequence[Floats | None] | None = None,
    zero: bool = False,
    floor: float | None = None,
) -> str:
    """Series over the updates, as an SVG element.

    Args:
        series: one for each colour; beyond those of `COLORS` they start over, in other dashes; an empty
            one is not drawn.
        title: what a screen reader says.
        style: `smooth` (light points and a line for their running average), `line`, or `marks` (a line with dots).
        errors: for each series the half heights (K,) of a band around it, at most `MAX_VERTICES`, or None.
        zero: make the y axis symmetrical about a marked zero.
        floor: where the y axis begins, unless a value is lower; else at the lowest value.
    """

    def draw(axes: Axes) -> None:
        points = {}
        for i, (s, error) in enumerate(zip(series, errors or [None] * len(series), strict=True)):
            if not len(s.values):
                continue
            averages = running_average(s.values)[0] if style == "smooth" else s.values
            x, y = thinned(s.updates, averages, MAX_VERTICES)
            axes.plot(*_broken(x, y, s.gaps), f"C{i}", linestyle=dashes(i), gid="line")
            if style == "marks" or len(x) == 1:
                _dots(axes, x, y, size=7 if len(x) < FEW else 4, color=f"C{i}", gid="marks")
            if error is not None:
                outline = [*(y + error), *(y - error)[::-1]]  # there and back
                axes.fill([*x, *x[::-1]], outline, color=f"C{i}", alpha=0.16, linewidth=0, gid="band")
            if style == "smooth":
                points[i] = x, y = thinned(s.updates, s.values, MAX_POINTS)
                ends = np.percentile(y, (1, 99) if len(y) > 50 else (0, 100))  # outliers lie on the border
                axes.update_datalim([(x[0], end) for end in ends])
        _set_limits(axes, zero, floor)
        for i, (x, y) in points.items():
            size, alpha = (6, 0.5) if len(x) < FEW else (3.5, 0.3)
            _dots(
                axes, x, np.clip(y, *axes.get_ylim()), size=size, color=f"C{i}", alpha=alpha, zorder=1.5, gid="points"
            )

    values = curve_values(series, errors, style=style, zero=zero, floor=floor)
    return _svg(draw, title, UPDATE, f' data-curves="{escape(values)}"')


def histogram(
    values: Sequence[Floats], *, title: str, filled: bool, centre: float = 0.0, x_label: str = "cosine"
) -> str:
    """Percent of values in each bin, symmetrical about a centre, as an SVG element.

    Args:
        values: one array of finite numbers for each outline; they share their bins. An empty one is not drawn.
        title: what a screen reader says.
        filled: bars instead of outlines.
        centre: where a bin ends; marked.
        x_label: what the values are.
    """
    reach = max([float(np.abs(v - centre).max()) for v in values if len(v)], default=1.0)
    reach = max(reach, 1e-6)
    count = int(np.clip(np.sqrt(max(len(v) for v in values)), 5, 20))
    edges = centre + np.linspace(-reach, reach, 2 * count + 1)

    def draw(axes: Axes) -> None:
        axes.axvline(centre, color=TEXT, linestyle=":", linewidth=1, gid="zero")
        for i, v in enumerate(values):
            shares = np.histogram(v, edges)[0] * 100 / max(len(v), 1)
            if len(v) and filled:
                axes.stairs(shares, edges, color=f"C{i}", fill=True, alpha=0.35, gid="bars")
            if len(v):
                axes.stairs(shares, edges, color=f"C{i}", linewidth=2, linestyle=dashes(i), gid="outline")

    return _svg(draw, title, x_label)


def angle_histogram(cosines: Sequence[Floats], *, title: str, filled: bool) -> str:
    """``histogram`` of the angles that belong to cosines, in degrees."""
    angles = [np.degrees(np.arccos(np.clip(values, -1, 1))) for values in cosines]
    return histogram(angles, title=title, filled=filled, centre=90.0, x_label="degrees")


def _set_limits(axes: Axes, zero: bool, floor: float | None) -> None:
    """Fixes the y axis: what is drawn later does not move it."""
    axes.autoscale_view()  # with a margin, and some room on either side of a single value
    bottom, top = axes.get_ylim()
    if zero:
        axes.axhline(0, color=TEXT, linestyle=":", linewidth=1, gid="zero")
        top = max(abs(bottom), abs(top), 1e-6)
        bottom = -top
    axes.set_ylim(bottom if floor is None else min(floor, axes.dataLim.y0), top)


def _svg(draw: Callable[[Axes], None], title: str, x_label: str, attributes: str = "") -> str:
    """What ``draw`` draws, as an SVG element with more attributes; the same for the same input."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), frameon=False)  # an SVG has 72 units an inch
        axes = figure.add_subplot()
        axes.set_xlabel(x_label, loc="right")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS, integer=x_label == UPDATE, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        if x_label == UPDATE:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1.5M
        draw(axes)
        return element(figure, title, attributes)


def element(figure: Figure, title: str, attributes: str = "") -> str:
    """A figure drawn in `STYLE` and the colours of `VARIABLES` as an SVG element, which follows the page's colours.

    Args:
        figure: of 72 pixels an inch.
        title: what a screen reader says.
        attributes: more of the element, HTML.
    """
    width, height = (round(72 * side) for side in figure.get_size_inches())
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = text.getvalue()
    for pattern, replacement in TIDIED:
        svg = re.sub(pattern, replacement, svg)
    svg = re.sub(r'(?<= [dxy]=")[^"]*', lambda numbers: _short(numbers[0]), svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda color: f"var({VARIABLES[color[0]]})", svg)
    name = escape(title)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}"{attributes}><title>{name}</title>{svg}'


def _dots(axes: Axes, x: Floats, y: Floats, *, size: float, **look: Any) -> None:
    """Round dots as one path of lines of no length: markers would take five times the bytes."""
    path = Path(np.repeat(np.column_stack([x, y]), 2, axis=0), [Path.MOVETO, Path.LINETO] * len(x))
    axes.add_artist(PathPatch(path, fill=False, capstyle="round", linewidth=size, clip_on=False, **look))


def _broken(x: Floats, y: Floats, gaps: Floats) -> tuple[Floats, Floats]:
    """A line's vertices, with one that is NaN wherever there is a gap between two."""
    places = np.unique(np.searchsorted(x, gaps))
    return np.insert(x, places, np.nan), np.insert(y, places, np.nan)


def _short(numbers: str) -> str:
    """Coordinates with one decimal, which is a pixel on a screen of 4000."""
    return re.sub(r"\s*([MLz])\s*", r"\1", re.sub(r"(\.\d)\d+", r"\1", numbers))
