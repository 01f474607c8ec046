"""The picture of an analysis: for each pair of tasks cosines by layer and stage over training; norms by stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from mtl_d2.analysis.advice import aligns, opposes
from mtl_d2.analysis.result import LAYER, STAGE, Analysis, Part
from mtl_d2.analysis.run import Moment, RunAnalysis
from mtl_d2.files import replacing

WIDTH, DPI = 4.0, 200  # inches; half of its 800 pixels are enough to read it
STAGE_HEIGHT, TITLE_HEIGHT, NORMS_HEIGHT, HEAD, FOOT = 0.19, 0.2, 1.7, 0.62, 0.36
LEFT, RIGHT, BETWEEN = 0.72, 0.06, 0.12
LEGEND = 3  # tasks in a line of the legend
GAP = 0.4  # of a column, between splits
NARROW = 0.09  # inches: narrower columns have no marks
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito
MARKERS = "osD^vPX"
HEADING: dict[str, Any] = {"fontsize": 8.5, "fontweight": "bold"}
MARK: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8, "fontweight": "bold"}
LIMITS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # of the colours
TYPICAL = 0.9  # of the cosines are within
STYLE: dict[Any, Any] = {
    "font.size": 7.5, "axes.titlesize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.linewidth": 0.6, "xtick.major.size": 2, "ytick.major.size": 0, "xtick.major.pad": 1.5,
    "ytick.major.pad": 2, "font.family": "DejaVu Sans", "figure.autolayout": False, "text.usetex": False,
    "figure.constrained_layout.use": False, "hatch.linewidth": 0.4,
}  # fmt: skip


@dataclass(frozen=True)
class _Grid:
    """Where things stand.

    Attributes:
        moments: the columns, those of a split together.
        lefts: of the columns, which are 1 wide.
        stages: the rows, from the top.
        norm: of the colours.
    """

    moments: list[Moment]
    lefts: list[float]
    stages: tuple[Part, ...]
    norm: Normalize

    @property
    def right(self) -> float:
        return self.lefts[-1] + 1


def write_picture(known: RunAnalysis, path: Path) -> None:
    """Writes a PNG of 800 pixels' width that can be read at 400.

    Raises:
        WriteError: the disk does not take it.
    """
    with matplotlib.rc_context(STYLE):
        figure = draw(known)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        image = pixels.quantize(palette=_palette(), dither=Image.Dither.NONE)  # half the bytes
        with replacing(path) as file:
            image.save(file, format="png", optimize=True)


def _palette() -> Image.Image:
    """The 256 colours of the file: those of cosines, greys, and those of tasks with their edges on white."""
    map_ = matplotlib.colormaps["PuOr"](np.linspace(0, 1, 182))[:, :3]
    greys = np.linspace(0, 1, 32)[:, None].repeat(3, axis=1)
    colored = np.array([to_rgb(color) for color in COLORS[:6]])
    edges = [1 - share * (1 - colored) for share in np.linspace(1, 0.15, 7)]
    image = Image.new("P", (1, 1))
    image.putpalette((np.concatenate([map_, greys, *edges]) * 255).round().astype(np.uint8).tobytes())
    return image


def draw(known: RunAnalysis) -> Figure:
    """The figure of all moments."""
    grid = _grid(known)
    pairs = known.moments[0].analysis.pairs
    across = min(len(pairs), 2)
    rows = math.ceil(len(pairs) / across)
    panel = STAGE_HEIGHT * len(grid.stages)
    block = panel + TITLE_HEIGHT + FOOT
    height = HEAD + rows * block + NORMS_HEIGHT
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    width = (WIDTH - LEFT - RIGHT - BETWEEN * (across - 1)) / across
    for k, pair in enumerate(pairs):
        row, column = divmod(k, across)
        bottom = height - HEAD - row * block - TITLE_HEIGHT - panel
        axes = figure.add_axes(
            ((LEFT + column * (width + BETWEEN)) / WIDTH, bottom / height, width / WIDTH, panel / height)
        )
        _draw_pair(axes, grid, pair, column == 0, width)
    _head(figure, grid, known, height)
    last = known.of(known.moments[0].split)[-1]
    below = 0.35 + 0.15 * math.ceil(len(last.analysis.tasks) / LEGEND) + 0.13 * _crowded(grid.stages)
    axes = figure.add_axes(
        (LEFT / WIDTH, below / height, (WIDTH - LEFT - RIGHT) / WIDTH, (NORMS_HEIGHT - 0.25 - below) / height)
    )
    _draw_norms(axes, last)
    return figure


def _grid(known: RunAnalysis) -> _Grid:
    splits = list(dict.fromkeys(moment.split for moment in known.moments))
    moments = [moment for split in splits for moment in known.of(split)]
    lefts = [k + GAP * splits.index(moment.split) for k, moment in enumerate(moments)]
    means = [abs(e.mean) for m in moments for (part, *_), e in m.analysis.cosines.items() if part.level == STAGE]
    limit = next((limit for limit in LIMITS if limit >= np.quantile(means or [0.0], TYPICAL)), LIMITS[-1])
    return _Grid(moments, lefts, moments[0].analysis.at(STAGE), Normalize(-limit, limit))


def _draw_pair(axes: Axes, grid: _Grid, pair: tuple[str, str], labelled: bool, width: float) -> None:
    axes.set_facecolor("#c9c9c9")  # where there is no cosine
    for moment, left in zip(grid.moments, grid.lefts, strict=True):
        for row, stage in enumerate(grid.stages):
            _draw_stage(axes, moment.analysis, stage, pair, (left, row), grid.norm)
            cosine = moment.analysis.cosines.get((stage, *pair))
            if cosine and width / grid.right > NARROW and (opposes(cosine) or aligns(cosine)):
                text = axes.text(left + 0.5, row + 0.5, "−" if opposes(cosine) else "+", **MARK)
                text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
    for row in range(1, len(grid.stages)):
        axes.axhline(row, color="white", linewidth=1.2)
    for left, before in zip(grid.lefts[1:], grid.lefts, strict=False):
        axes.axvspan(before + 0.97, left + 0.03, color="white", linewidth=0)
    axes.set(xlim=(0, grid.right), ylim=(len(grid.stages), 0))
    names = [_short(stage.name) if labelled else "" for stage in grid.stages]
    axes.set_yticks([row + 0.5 for row in range(len(names))], names)
    _label_columns(axes, grid, width)
    axes.set_title(_fitting(pair, width), pad=2.5, loc="left")


def _draw_stage(
    axes: Axes, analysis: Analysis, stage: Part, pair: tuple[str, str], corner: tuple[float, float], norm: Normalize
) -> None:
    """A cell with a strip for each layer of the stage that both tasks move."""
    layers = [part for part in analysis.at(LAYER) if part.stage == stage.name]
    cosines = [analysis.cosines.get((layer, *pair)) for layer in layers]
    means = np.array([math.nan if e is None else e.mean for e in cosines if e is not None or len(layers) < 2])
    if not len(means) or np.isnan(means).all():
        return
    left, top = corner
    extent = (left, left + 1, top + 1, top)
    axes.imshow(means[:, None], cmap="PuOr", norm=norm, extent=extent, aspect="auto", interpolation="nearest")


def _label_columns(axes: Axes, grid: _Grid, width: float) -> None:
    """Updates below the first and the last column of each split, and below those between where there is room."""
    splits = list(dict.fromkeys(moment.split for moment in grid.moments))
    ticks, labels = [], []
    for split in splits:
        columns = [k for k, moment in enumerate(grid.moments) if moment.split == split]
        texts = [grid.moments[k].checkpoint.label for k in columns]
        needed = max(map(len, texts)) * 0.062 + 0.04  # inches
        step = max(1, math.ceil(needed / (width / grid.right)))
        chosen = list(range(len(columns)))[::-step][::-1]
        ticks += [grid.lefts[columns[k]] + 0.5 for k in chosen]
        labels += [texts[k] for k in chosen]
        middle = (grid.lefts[columns[0]] + grid.lefts[columns[-1]] + 1) / 2
        axes.annotate(split, (middle, 0), (0, -11), xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", va="top", fontsize=7, color="#444444")  # fmt: skip
    axes.set_xticks(ticks, labels)


def _head(figure: Figure, grid: _Grid, known: RunAnalysis, height: float) -> None:
    """What is drawn, with the scale of the colours."""
    figure.text(0.02, 1 - 0.06 / height, "Cosine of task gradients, by layer, over updates", va="top", **HEADING)
    figure.text(0.02, 1 - 0.22 / height, "−/+ below/above 0 (95 %)   grey: not both tasks", va="top")
    scale = figure.add_axes((LEFT / WIDTH, 1 - 0.45 / height, (WIDTH - LEFT - 1.2) / WIDTH, 0.09 / height))
    limit = grid.norm.vmax or 1.0
    scale.imshow(np.linspace(-limit, limit, 129)[None], cmap="PuOr", aspect="auto", extent=(-limit, limit, 0, 1))
    scale.set_yticks([])
    scale.set_xticks([-limit, 0, limit], [f"≤ −{limit:g}", "0", f"≥ {limit:g}"])
    figure.text(0.02, 1 - 0.4 / height, "conflict", va="center")
    figure.text(1 - 1.1 / WIDTH, 1 - 0.4 / height, "agreement", va="center")


def _draw_norms(axes: Axes, moment: Moment) -> None:
    analysis, stages = moment.analysis, moment.analysis.at(STAGE)
    count = len(analysis.tasks)
    for k, task in enumerate(analysis.tasks):
        known = [(row, analysis.norms.get((stage, task))) for row, stage in enumerate(stages)]
        points = [(row + 0.5 + 0.12 * (k - (count - 1) / 2), e) for row, e in known if e is not None]
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        x, y = [place for place, _ in points], [e.mean for _, e in points]
        axes.plot(x, y, color=color, marker=marker, markersize=3.5, linewidth=0.8, label=task)
        for place, e in points:
            axes.plot([place, place], [e.low, e.high], color=color, linewidth=1.6, alpha=0.6)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=(0, len(stages)))
    crowded, names = _crowded(stages), [_short(stage.name) for stage in stages]
    axes.set_xticks([row + 0.5 for row in range(len(names))], names, rotation=25 if crowded else 0)
    axes.grid(axis="y", linewidth=0.4, color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    when = moment.checkpoint.label + (" updates" if moment.checkpoint.updates is not None else "")
    axes.set_title(f"Norm of task gradients, {when}, {moment.split}", loc="left", pad=4, **HEADING)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.42, -0.27 if crowded else -0.14), ncols=min(count, LEGEND), frameon=False,
        handlelength=1.6, columnspacing=1.0,
    )  # fmt: skip


def _crowded(stages: Sequence[Part]) -> bool:
    """Whether their names cannot stand side by side."""
    return len(stages) * max(len(_short(stage.name)) for stage in stages) * 0.065 > WIDTH - LEFT


def _fitting(pair: Sequence[str], width: float) -> str:
    whole = " / ".join(pair)
    letters = int(width / 0.06)
    return whole if len(whole) <= letters else " / ".join(_short(name, (letters - 3) // 2) for name in pair)


def _short(name: str, most: int = 11) -> str:
    """The name, or its end."""
    return name if len(name) <= most else "…" + name[1 - most :]
