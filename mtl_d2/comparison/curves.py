"""Curves of a comparison: for each logged quantity one figure with all methods, means with a band over their seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from mtl_d2.comparison.collect import Collected, Record, Row
from mtl_d2.report.charts import MAX_VERTICES, angle_histogram, plot
from mtl_d2.report.markup import Section, figure, grid, missing, paragraph
from mtl_d2.report.series import Floats, Series, running_average, thinned

MOST = 16  # methods in a figure: the colours, full and dashed
BAND = "Lines are means over the finished runs of a method, bands ± one standard error"


def curve_sections(collected: Collected) -> list[Section]:
    """Metrics, losses, cosines and weights over the updates."""
    rows = [row for row in collected.rows if row.finished]
    if not rows:
        return [Section("curves", "Curves", missing("No run is finished yet, so there are no curves."))]
    wanted = {metric.name for metric in collected.metrics}
    sections = []
    for anchor, title, chosen, reading, zero in _SECTIONS:
        smooth = anchor != "evaluations"
        names = [name for name in _names(rows, chosen) if smooth or name in wanted]
        if names:
            text = f"{BAND}{'; smoothed' if smooth else ''}. {reading}"
            text += f" Shown are the first {MOST} of {len(rows)} methods." if len(rows) > MOST else ""
            figures = grid(_figure(rows[:MOST], name, zero, smooth) for name in names)
            sections.append(Section(anchor, title, paragraph(text) + figures))
    return [*sections, *_angle_sections(rows[:MOST])]


def mean_curve(runs: Sequence[Series], smooth: bool) -> tuple[Series, Floats | None]:
    """Mean of several runs' series over the updates that all of them reach.

    Args:
        runs: one quantity, of each run, none empty.
        smooth: take running averages first.

    Returns:
        The means (K,), and their standard errors (K,) or None for fewer than two runs.
    """
    values: dict[int, pd.Series] = {}
    for i, run in enumerate(runs):
        updates, shown = thinned(run.updates, running_average(run.values)[0] if smooth else run.values, MAX_VERTICES)
        values[i] = pd.Series(shown, index=updates)
    table = pd.DataFrame(values)
    shared = table.interpolate("index", limit_area="inside").dropna()
    if shared.empty:  # no update in common: each run's ends go on
        shared = table.interpolate("index", limit_direction="both")
    updates = shared.index.to_numpy(np.float64)
    means, errors = (
        thinned(updates, statistic.to_numpy(), MAX_VERTICES) for statistic in (shared.mean(axis=1), shared.sem(axis=1))
    )
    return Series("mean", *means), errors[1] if len(runs) > 1 else None


def _names(rows: Sequence[Row], chosen: Callable[[Record, str], bool]) -> list[str]:
    records = [record for row in rows for record in row.finished]
    return sorted({name for record in records for name in record.run.series if chosen(record, name)})


def _figure(rows: Sequence[Row], name: str, zero: bool, smooth: bool) -> str:
    curves, errors = zip(*(mean_curve(_logged(row, name), smooth) for row in rows), strict=True)
    title = name.replace("task_loss/", "loss of ").replace("cosine/", "").replace("weight/", "weight of ")
    svg = plot(curves, title=title, style="line" if smooth else "marks", errors=errors, zero=zero)
    return figure(title, svg, "", [row.entry.name for row in rows])


def _angle_sections(rows: Sequence[Row]) -> list[Section]:
    """For each cosine the methods beside each other, as in figures 1 and 2 of the paper of STA and ISTA."""
    figures = []
    for name in _names(rows, _starts("cosine/")):
        pooled = [np.concatenate([np.empty(0), *(s.values for s in _logged(row, name))]) for row in rows]
        title = f"Angles, {name.removeprefix('cosine/')}"
        svg = angle_histogram(pooled, title=title, filled=False)
        figures.append(figure(title, svg, "", [row.entry.name for row in rows]))
    text = "Percent of the logged updates of all finished runs; right of 90° two gradients are in conflict."
    return [Section("angles", "Angles between gradients", paragraph(text) + grid(figures))] if figures else []


def _logged(row: Row, name: str) -> list[Series]:
    """The series of each finished run that logged a value of it."""
    return [s for record in row.finished if (s := record.run.series.get(name)) is not None and len(s.values)]


def _is_loss(record: Record, name: str) -> bool:
    return name == "total_loss" or name.startswith("task_loss/")


def _is_metric(record: Record, name: str) -> bool:
    return record.run.is_metric(name) and len(record.run.series[name].values) > 1


def _starts(prefix: str) -> Callable[[Record, str], bool]:
    return lambda record, name: name.startswith(prefix) and len(record.run.series[name].values) > 0


_SECTIONS: tuple[tuple[str, str, Callable[[Record, str], bool], str, bool], ...] = (
    ("evaluations", "Metrics over training", _is_metric, "Each dot is an evaluation on the test sets.", False),
    ("losses", "Losses", _is_loss, "Unweighted, as each task has it; lower is better.", False),
    ("cosines", "Cosines over training", _starts("cosine/"), "Below zero two gradients are in conflict.", True),
    ("weights", "Weights over training", _starts("weight/"), "What each task's gradient is multiplied by.", False),
)
