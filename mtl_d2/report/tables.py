"""Sections of numbers: the summary and the metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import pandas as pd

from mtl_d2.report.coverage import choices, remarks, undefined, why_nothing
from mtl_d2.report.curves import metric_curves
from mtl_d2.report.markup import Section, folded, group_title, listed, missing, paragraph, table
from mtl_d2.report.precision import UNDEFINED, best, higher_is_better, metric_precision
from mtl_d2.report.run import Groups, Results, Run
from mtl_d2.report.settings import method_of

HEADLINES = 2  # metrics of each group that the summary names, if detectron2 puts them first
DECIMALS = 1  # of percentages

# A metric of one class: `AP-car`, `IoU-road`; a hyphen within parentheses belongs to the metric.
PER_CLASS = re.compile(r"^((?:\([^)]*\)|[^-(])+)-(.+)$")


def summary(run: Run) -> tuple[str, list[tuple[str, str]]]:
    """One line about the run, and its headline figures as (label, value) pairs, all text."""
    tasks = _joined(run.setting("MTL.TASKS")) or "unknown tasks"
    data = _joined(run.setting("DATASETS.TRAIN")) or "unknown data"
    method = method_of(run) or "an unknown method"
    model = run.setting("MODEL.META_ARCHITECTURE", "a model")
    planned = run.setting("SOLVER.MAX_ITER")
    progress = f"{run.updates} of {planned} updates" if isinstance(planned, int) else f"{run.updates} updates"
    took = f" in {duration(run.seconds)}" if run.seconds else ""
    line = f"{model} for {tasks}, balanced by {method}, trained on {data}: {progress}{took}."
    figures = [("updates", str(run.updates))]
    if run.seconds:
        figures.append(("training time", duration(run.seconds)))
    return line, figures + _headlines(run.own_results)


def duration(seconds: float) -> str:
    """A time span in its two largest units, e.g. `6 min 40 s`."""
    rest = max(round(seconds), 1)
    counts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or counts:
            counts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in counts[:2] if count)


def metrics_section(run: Run) -> Section:
    """Rows to compare, what must be known of them, metrics of each class, and metrics over training."""
    rows: Results = {name: row for name, row in run.results.items() if row}
    if not rows and (last := run.last_evaluation()):
        rows = {"last evaluation": last}
    told = listed([*remarks(run), *undefined(run.own_results)], warning=True) + listed(choices(run), warning=False)
    if not rows:
        return Section("metrics", "Metrics", missing(why_nothing(run)) + told)
    groups: dict[str, list[str]] = {}
    for group, metric in metric_columns(rows.values(), per_class=False):
        groups.setdefault(group, []).append(metric)
    shown = f'<div class="tables">{"".join(group_table(rows, *item) for item in groups.items())}</div>'
    body = shown + told
    note = "AP, IoU and accuracies are percentages; a dash means that there is no such figure"
    if "<b>" in shown:
        note += ", bold is the best of its line"
    definitions = [f"{group_title(group)}: {words}" for group, words in run.definitions.items()]
    body += paragraph(f"{note}.") + listed(definitions, warning=False)
    return Section("metrics", "Metrics", body + class_tables(rows) + metric_curves(run))


def group_table(rows: Results, group: str, metrics: Sequence[str]) -> str:
    """A line for each metric of a group, a column for each row to compare: narrow, however many metrics there are."""
    cells = [_cells(rows, group, metric, marked=True) for metric in metrics]
    return table(pd.DataFrame(cells, index=list(metrics), columns=list(rows)), corner=group_title(group))


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


def _headlines(row: Groups) -> list[tuple[str, str]]:
    headlines = []
    for group, metrics in row.items():
        wanted = [m for m in ("AP", "AP50", "mIoU") if m in metrics]
        for metric in wanted or [m for m in metrics if not PER_CLASS.match(m)][:HEADLINES]:
            headlines.append((metric_title(group, metric), metric_texts(group, metric, [metrics[metric]])[0]))
    return headlines


def metric_columns(rows: Iterable[Groups], *, per_class: bool) -> list[tuple[str, str]]:
    """(group, metric) pairs, group by group, in the order of their first appearance."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        for group, metrics in row.items():
            groups.setdefault(group, {}).update(dict.fromkeys(metrics))
    return [(g, m) for g, metrics in groups.items() for m in metrics if bool(PER_CLASS.match(m)) == per_class]


def _cells(rows: Results, group: str, metric: str, *, marked: bool = False) -> list[str]:
    """One metric of all rows; a dash where a row lacks it. The best is bold, as far as the digits shown tell."""
    given = [row.get(group, {}).get(metric) for row in rows.values()]
    values = [math.nan if value is None else value for value in given]
    texts = metric_texts(group, metric, values)
    higher = higher_is_better(f"{group}/{metric}")
    tops = best(texts, values, higher) if marked and higher is not None else [False for _ in texts]
    return [
        "–" if value is None else f"<b>{text}</b>" if top else text
        for value, text, top in zip(given, texts, tops, strict=True)
    ]


def metric_texts(group: str, metric: str, values: Sequence[float]) -> list[str]:
    """Values of a metric at one precision."""
    precision = metric_precision(f"{group}/{metric}", values, DECIMALS)
    return [precision(value) for value in values]


def class_tables(rows: Results) -> str:
    """One folded table for each metric of classes: a line a class, a column a row of the comparison."""
    tables: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for group, metric in metric_columns(rows.values(), per_class=True):
        match = PER_CLASS.match(metric)
        if match:
            tables.setdefault((group, match[1]), []).append((match[2], metric))
    parts = []
    for (group, kind), members in tables.items():
        cells = [_cells(rows, group, metric) for _, metric in members]
        classes = pd.DataFrame(cells, index=[label for label, _ in members], columns=list(rows))
        parts.append(folded(f"{metric_title(group, kind)} of each class", table(classes)))
    if any(f"<td>{UNDEFINED}</td>" in part for part in parts):
        parts.append(paragraph("nan in the tables of classes: the test set does not have the class."))
    return "".join(parts)


def metric_title(group: str, metric: str) -> str:
    """In words, as text."""
    return f"{group_title(group)} {metric}"
