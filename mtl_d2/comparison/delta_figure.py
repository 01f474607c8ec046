"""What a method brings, over what it costs."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.comparison.notes import delta_gaps
from mtl_d2.comparison.paper_figure import PaperFigure, look, of_several_tasks, panels, style
from mtl_d2.comparison.statistics import Summary, summarize
from mtl_d2.evaluation.delta import CONVENTIONS

MARKERS = "osD^vP*"  # their number has no divisor in common with that of the colours: 56 looks
SIZE = (5.0, 3.6)  # inches
USUAL = "acc"  # the convention of the paper that draws it
NO_BASE = "there is no Delta: name a `delta: base`, or `baselines` that have every metric"


def delta_over_time(collected: Collected, updates: int = 1) -> PaperFigure:
    """The achievement poster's plot: what a method brings, by what an epoch of it takes.

    Args:
        collected: the runs.
        updates: in an epoch; 1 = seconds are those of an update.
    """
    conventions = collected.comparison.conventions
    convention = next((name for name in (USUAL, *conventions) if name in conventions), USUAL)
    kind = CONVENTIONS[convention]
    unit = "update" if updates == 1 else f"epoch of {updates} updates"
    caption = (
        f"Δ {convention} against {collected.base_name}, {kind.what}, by the seconds of an {unit}, the median of a run; "
        f"mean ± standard error over the finished runs. {'Up' if kind.higher else 'Down'} and left is better."
    )
    name, title = "delta_over_time", f"Δ {convention} over the time of an {unit.partition(' ')[0]}"
    counted = [metric.name for metric in collected.metrics if metric.task]
    if not counted or any(metric not in collected.base for metric in counted):
        return PaperFigure(name, title, caption, None, (NO_BASE,))
    rows = of_several_tasks(collected)
    seconds = [summarize(record.seconds_per_update * updates for record in row.finished) for row in rows]
    deltas = [collected.delta(row, convention) for row in rows]
    lacks = [f"no Δ of {gap}" for gap in delta_gaps(collected, rows)]
    lacks += [f"{row.entry.name} logs no `time`" for row, time in zip(rows, seconds, strict=True) if not time.count]
    points = [point for point in zip(rows, seconds, deltas, strict=True) if point[1].count and point[2].count]
    if not points:
        return PaperFigure(name, title, caption, None, tuple(lacks))
    with style():
        figure, ((axes,),) = panels(1)
        axes.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
        for i, (row, time, delta) in enumerate(points):
            _draw(axes, MARKERS[i % len(MARKERS)], row, time, delta, look(collected, row)["color"])
        axes.margins(0.12)
        axes.set(xlabel=f"seconds per {unit}", ylabel=f"Δ {convention} {kind.unit}".strip())
        figure.set_size_inches(*SIZE)
        figure.legend(loc="outside right upper", frameon=False)
    return PaperFigure(name, title, caption, figure, tuple(lacks))


def _draw(axes: Axes, marker: str, row: Row, time: Summary, delta: Summary, color: str) -> None:
    """A mark with the standard errors of both; a single run has none."""
    errors = {"xerr": np.nan_to_num(time.error), "yerr": np.nan_to_num(delta.error)}
    axes.errorbar(time.mean, delta.mean, **errors, fmt=marker, capsize=2, color=color, label=row.entry.name)
