"""Sections of numbers: the summary, the settings and the metrics."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import mtl_d2
from mtl_d2.report.curves import metric_curves
from mtl_d2.report.markup import Section, folded, group_title, missing, paragraph, table
from mtl_d2.report.plot import number
from mtl_d2.report.run import Results, Run, evaluator

PERCENT_GROUPS = frozenset({"bbox", "segm", "keypoints", "sem_seg", "panoptic_seg"})  # higher is better in all of them
HEADLINES = 2  # metrics of each group that the summary names, if detectron2 puts them first
PACKAGES = ("detectron2", "torch", "torchvision", "numpy", "opencv-python-headless", "opencv-python")

# A metric of one class: `AP-car`, `IoU-road`; a hyphen within parentheses belongs to the metric.
PER_CLASS = re.compile(r"^((?:\([^)]*\)|[^-(])+)-(.+)$")


def summary(run: Run) -> tuple[str, list[tuple[str, str]]]:
    """One line about the run, and its headline figures as (label, value) pairs, all text."""
    tasks = _joined(run.setting("MTL.TASKS", ())) or "unknown tasks"
    data = _joined(run.setting("DATASETS.TRAIN", ())) or "unknown data"
    method = " + ".join(_gradient_chain(run)) or "an unknown method"
    model = run.setting("MODEL.META_ARCHITECTURE", "a model")
    planned = run.setting("SOLVER.MAX_ITER")
    progress = f"{run.updates} of {planned} updates" if isinstance(planned, int) else f"{run.updates} updates"
    took = f" in {duration(run.seconds)}" if run.seconds else ""
    line = f"{model} for {tasks}, balanced by {method}, trained on {data}: {progress}{took}."
    figures = [("updates", str(run.updates))]
    if run.seconds:
        figures.append(("training time", duration(run.seconds)))
    return line, figures + _headlines(run)


def duration(seconds: float) -> str:
    """A time span in its two largest units, e.g. `6 min 40 s`."""
    whole = max(round(seconds), 1)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    counts = [
        (whole // size % (10**9 if unit == "d" else 86400 // size if unit == "h" else 60), unit) for unit, size in units
    ]
    first = next(i for i, (count, _) in enumerate(counts) if count)
    return " ".join(f"{count} {unit}" for count, unit in counts[first : first + 2] if count)


def settings_section(run: Run) -> Section:
    """The five choices, solver, data and versions, with the whole config folded below."""
    if not run.config:
        body = missing("config.yaml is missing or broken, so the settings of this run are unknown.")
    else:
        body = table((), [(escape(name), escape(value)) for name, value in _settings(run)], numeric=False)
    versions = ", ".join(f"{name} {version}" for name, version in _versions())
    body += paragraph(f"Versions where this report was written: {versions}.")
    if run.config_text:
        body += folded("The whole config.yaml", f"<pre>{escape(run.config_text)}</pre>")
    return Section("settings", "Settings", body)


def metrics_section(run: Run) -> Section:
    """Rows to compare, metrics of each class, and metrics over training."""
    rows: Results = {name: row for name, row in run.results.items() if row}
    if not rows:
        last = run.last_evaluation()
        if not last:
            text = "No evaluation was found: neither results.json nor an evaluation row in metrics.json."
            return Section("metrics", "Metrics", missing(text))
        rows = {"last evaluation": last}
    columns = _columns(rows.values(), per_class=False)
    body = table(["", *(_heading(group, metric) for group, metric in columns)], _comparison(rows, columns))
    note = "AP and IoU figures are percentages; a dash means that the figure was not computed"
    body += paragraph(f"{note}, bold is the best of its column." if len(rows) > 1 else f"{note}.")
    body += _class_tables(rows) + metric_curves(run)
    return Section("metrics", "Metrics", body)


def _settings(run: Run) -> Iterable[tuple[str, str]]:
    yield "Tasks", _joined(run.setting("MTL.TASKS", ())) or "–"
    yield "Allocation", _choice(run, "ALLOCATION.NAME") or "–"
    yield "Scalarization", _choice(run, "SCALARIZATION.NAME") or "–"
    yield "Gradient", ", then ".join(_gradient_chain(run, parameters=True)) or "–"
    yield "Regularizer", _choice(run, "REGULARIZER.NAME") or "none"
    yield "Step", _choice(run, "STEP.NAME") or "–"
    model, device = run.setting("MODEL.META_ARCHITECTURE", "–"), run.setting("MODEL.DEVICE", "–")
    yield "Model", f"{model}, trunk {run.setting('MODEL.BACKBONE.NAME', '–')}, on {device}"
    yield "Weights at the start", str(run.setting("MODEL.WEIGHTS") or "random")
    solver = {key: run.setting(f"SOLVER.{key}", "–") for key in ("MAX_ITER", "IMS_PER_BATCH", "BASE_LR", "STEPS")}
    yield (
        "Solver",
        (
            f"{solver['MAX_ITER']} updates of {solver['IMS_PER_BATCH']} images, learning rate {solver['BASE_LR']}, "
            f"steps at {_joined(solver['STEPS']) or 'none'}, warm-up {run.setting('SOLVER.WARMUP_ITERS', '–')}, "
            f"momentum {run.setting('SOLVER.MOMENTUM', '–')}, weight decay {run.setting('SOLVER.WEIGHT_DECAY', '–')}"
        ),
    )
    yield "Training data", _joined(run.setting("DATASETS.TRAIN", ())) or "–"
    yield "Test data", _joined(run.setting("DATASETS.TEST", ())) or "–"
    yield "Seed", str(run.setting("SEED", "–"))


def _gradient_chain(run: Run, *, parameters: bool = False) -> list[str]:
    chain = [_choice(run, f"GRADIENT.{key}", parameters=parameters) for key in ("RESCALE", "AGGREGATOR")]
    return [choice for choice in chain if choice not in ("", "none")]


def _choice(run: Run, key: str, *, parameters: bool = True) -> str:
    """A chosen strategy with its own parameters: the config node beside it that has its name, if there is one."""
    name = run.setting(f"MTL.{key}", "")
    if not parameters or not name or not isinstance(name, str):
        return str(name)
    own = run.setting(f"MTL.{key.rpartition('.')[0]}.{name.upper()}")
    if not isinstance(own, dict):
        return name
    given = [f"{key.lower()} {text}" for key, value in own.items() if (text := _joined(value))]
    return f"{name} ({', '.join(given)})" if given else name


def _joined(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _versions() -> Iterable[tuple[str, str]]:
    yield "mtl_d2", mtl_d2.__version__
    yield "Python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _headlines(run: Run) -> list[tuple[str, str]]:
    row, name = run.last_evaluation(), ""
    if not row and run.results:
        name, row = list(run.results.items())[-1]
    headlines = []
    for group, metrics in row.items():
        wanted = [m for m in ("AP", "AP50", "mIoU") if m in metrics]
        for metric in wanted or [m for m in metrics if not PER_CLASS.match(m)][:HEADLINES]:
            label = f"{_heading(group, metric)}{f', {name}' if name else ''}"
            headlines.append((label, _figure(metrics[metric])))
    return headlines


def _columns(rows: Iterable[Mapping[str, Mapping[str, Any]]], *, per_class: bool) -> list[tuple[str, str]]:
    """(group, metric) pairs, group by group, in the order of their first appearance."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        for group, metrics in row.items():
            groups.setdefault(group, {}).update(dict.fromkeys(metrics))
    return [(g, m) for g, metrics in groups.items() for m in metrics if bool(PER_CLASS.match(m)) == per_class]


def _comparison(rows: Results, columns: Sequence[tuple[str, str]]) -> Iterable[list[str]]:
    best = {}
    for group, metric in columns:
        values = [v for row in rows.values() if (v := row.get(group, {}).get(metric)) is not None]
        if len(rows) > 1 and values and evaluator(group) in PERCENT_GROUPS:
            best[group, metric] = max(values)
    for name, row in rows.items():
        cells = [escape(name)]
        for group, metric in columns:
            value = row.get(group, {}).get(metric)
            text = _figure(value)
            top = value is not None and value == best.get((group, metric))
            cells.append(f"<b>{text}</b>" if top else text)
        yield cells


def _class_tables(rows: Results) -> str:
    """One folded table for each metric of classes: a line a class, a column a row of the comparison."""
    tables: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for group, metric in _columns(rows.values(), per_class=True):
        match = PER_CLASS.match(metric)
        if match:
            tables.setdefault((group, match[1]), []).append((match[2], metric))
    parts = []
    for (group, kind), members in tables.items():
        lines = [
            [escape(label), *(_figure(row.get(group, {}).get(metric)) for row in rows.values())]
            for label, metric in members
        ]
        parts.append(folded(f"{_heading(group, kind)} of each class", table(["", *rows], lines)))
    return "".join(parts)


def _heading(group: str, metric: str) -> str:
    return f"{group_title(group)} {metric}"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if 0.1 <= abs(value) < 1000 or value == 0 else number(value)
