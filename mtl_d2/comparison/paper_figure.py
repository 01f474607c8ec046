"""What all figures of papers have in common: panels, one look for each method, and how several runs are one line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.report import charts

COLUMNS = 4  # panels beside each other
WIDTH, HEIGHT = 3.1, 2.5  # of a panel, inches
DPI = 110
STYLE: dict[Any, Any] = {
    **{key: charts.STYLE[key] for key in ("axes.prop_cycle", "axes.axisbelow", "axes.formatter.limits")},
    "font.size": 9, "axes.titlesize": 9, "lines.linewidth": 1.6, "axes.grid": True, "grid.color": charts.RULE,
    "axes.spines.right": False, "axes.spines.top": False, "svg.fonttype": "none", "svg.hashsalt": "mtl_d2",
    "pdf.fonttype": 42, "text.usetex": False, "figure.autolayout": False,
}  # fmt: skip
# What a file says of its making, left out: the same runs give the same bytes.
SILENT = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@dataclass(frozen=True)
class PaperFigure:
    """A figure, or why there is none.

    Attributes:
        name: of its file, without the ending.
        title: a few words.
        caption: how to read it.
        figure: None if no run has what it shows.
        lacks: one line for each method that is not in it, with what it lacks and how to have it.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    lacks: tuple[str, ...] = ()

    def save(self, folder: Path, kind: str) -> Path | None:
        """Writes the file; gives its path, None if there is nothing to write.

        Args:
            folder: exists.
            kind: "png", "pdf" or "svg".
        """
        if self.figure is None:
            return None
        path = folder / f"{self.name}.{kind}"
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(path, dpi=DPI, metadata=SILENT[kind])
        return path


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, whatever the user's own is."""
    with matplotlib.rc_context(STYLE):
        yield


def panels(count: int, lines: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """``count`` panels, at most ``COLUMNS`` beside each other, each of ``lines`` axes one below the other.

    Returns:
        The figure, and the axes of each panel from top to bottom.
    """
    blocks = math.ceil(count / COLUMNS)
    columns = math.ceil(count / blocks)
    size = (max(WIDTH * columns, 4.5), HEIGHT * blocks * lines + 0.4)  # one panel has room for a legend below
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.04))
    axes = figure.subplots(blocks * lines, columns, squeeze=False)
    for unused in axes.flat:
        unused.set_visible(False)
    placed = []
    for i in range(count):
        block, column = divmod(i, columns)
        placed.append([axes[block * lines + line][column] for line in range(lines)])
        for used in placed[-1]:
            used.set_visible(True)
    return figure, placed


def look(collected: Collected, row: Row) -> dict[str, Any]:
    """Colour and dashes of a method, the same in all figures of a comparison."""
    index = [other.entry.name for other in collected.rows].index(row.entry.name)
    return {"color": charts.COLORS[index % len(charts.COLORS)], "linestyle": charts.dashes(index)}


def legend_of_methods(figure: Figure, collected: Collected, rows: Sequence[Row]) -> None:
    """Below all panels."""
    lines = [Line2D([], [], **look(collected, row)) for row in rows]
    figure.legend(
        lines, [row.entry.name for row in rows], loc="outside lower center", ncols=min(len(rows), 5), frameon=False
    )


def tasks_of(row: Row) -> tuple[str, ...]:
    """Names of the tasks that the runs of a row train; none where their configs are lost."""
    for record in row.finished:
        tasks = record.run.setting("MTL.TASKS")
        if isinstance(tasks, list | tuple):
            return tuple(map(str, tasks))
    return ()


def of_several_tasks(collected: Collected) -> list[Row]:
    """The rows of several tasks that have a finished run."""
    return [row for row in collected.rows if row.finished and not row.entry.baseline and len(tasks_of(row)) != 1]
