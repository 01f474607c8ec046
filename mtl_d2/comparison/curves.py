"""Curves of a comparison: for each logged quantity one figure with all methods, means with a band over their seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mtl_d2.comparison.collect import Collected, Record, Row
from mtl_d2.report.markup import Section, figure, grid, missing, paragraph
from mtl_d2.report.plot import MAX_VERTICES, Curve, angle_histogram, plot
from mtl_d2.report.series import Floats, Series, running_average

MOST = 16  # methods in a figure: the colours, full and dashed
BAND = "Lines are means over the finished runs of a method, bands ± one standard error"


def curve_sections(collected: Collected) -> list[Section]:
    """Metrics, losses, cosines and weights over the updates."""
    rows = [row for row in collected.rows if row.finished]
    if not rows:
        return [Section("curves", "Curves", missing("No run is finished yet, so there are no curves."))]
    wanted = {metric.name for metric in collected.metrics}
    found = []
    for anchor, title, chosen, reading, zero in _SECTIONS:
        smooth = anchor != "evaluations"
        names = [name for name in _names(rows, chosen) if smooth or name in wanted]
        figures = [_one(rows[:MOST], name, zero, smooth) for name in names]
        if figures:
            text = f"{BAND}{'; smoothed' if smooth else ''}. {reading}"
            text += f" Shown are the first {MOST} of {len(rows)} methods." if len(rows) > MOST else ""
            found.append(Section(anchor, title, paragraph(text) + grid(figures)))
    return [*found, *_angle_sections(rows[:MOST])]


def mean_curve(series: Sequence[Series], smooth: bool) -> tuple[Floats, Floats, Floats | None]:
    """Mean of several runs' series over the updates that all of them reach.

    Args:
        series: of one quantity, one for each run, none empty.
        smooth: take running averages first.

    Returns:
        Updates (K,), means (K,), and standard errors (K,) or None for a single run.
    """
    start, end = max(s.updates[0] for s in series), min(s.updates[-1] for s in series)
    longest = max(series, key=lambda s: len(s.updates)).updates
    x = longest[(longest >= start) & (longest <= end)]
    if len(x) > MAX_VERTICES or not len(x):
        x = np.linspace(start, max(start, end), MAX_VERTICES)
    values = np.stack([np.interp(x, s.updates, running_average(s.values)[0] if smooth else s.values) for s in series])
    error = values.std(axis=0, ddof=1) / np.sqrt(len(series)) if len(series) > 1 else None
    return x, values.mean(axis=0), error


def _names(rows: Sequence[Row], chosen: Callable[[Record, str], bool]) -> list[str]:
    records = [record for row in rows for record in row.finished]
    return sorted({name for record in records for name in record.run.series if chosen(record, name)})


def _one(rows: Sequence[Row], name: str, zero: bool, smooth: bool) -> str:
    bands, lines = [], []
    for color, row in enumerate(rows):
        series = [s for r in row.finished if (s := r.run.series.get(name)) is not None and len(s.values)]
        if not series:
            continue
        x, mean, error = mean_curve(series, smooth)
        if error is not None:
            outline = np.concatenate([mean + error, (mean - error)[::-1]])
            bands.append(Curve(row.entry.name, np.concatenate([x, x[::-1]]), outline, "band", color))
        lines.append(Curve(row.entry.name, x, mean, "line" if smooth else "marks", color))
    title = name.replace("task_loss/", "loss of ").replace("cosine/", "").replace("weight/", "weight of ")
    return figure(title, plot([*bands, *lines], title=title, zero=zero), "", [row.entry.name for row in rows])


def _angle_sections(rows: Sequence[Row]) -> list[Section]:
    """For each cosine the methods beside each other, as in figures 1 and 2 of the paper of STA and ISTA."""
    labels, figures = [row.entry.name for row in rows], []
    for name in _names(rows, _starts("cosine/")):
        pooled = [
            np.concatenate([s.values for r in row.finished if (s := r.run.series.get(name))] or [np.empty(0)])
            for row in rows
        ]
        title = f"Angles, {name.removeprefix('cosine/')}"
        figures.append(figure(title, angle_histogram(pooled, labels, title=title, filled=False), "", labels))
    text = "Percent of the logged updates of all finished runs; right of 90° two gradients are in conflict."
    return [Section("angles", "Angles between gradients", paragraph(text) + grid(figures))] if figures else []


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
