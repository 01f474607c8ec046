"""What a reader of a comparison must know besides its numbers: what is not there, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mtl_d2.evaluation.delta import CONVENTIONS
from mtl_d2.report.coverage import WHY_UNDEFINED, remarks, why_nothing

if TYPE_CHECKING:
    from mtl_d2.comparison.collect import Collected, Record, Row


def unfinished(collected: Collected) -> list[str]:
    """Every run that does not count, with the reason."""
    lines = []
    for row in collected.rows:
        for record in row.records:
            if not record.finished:
                reason = f": {record.outcome.reason}" if record.outcome.reason else ""
                lines.append(f"{row.entry.name}, seed {record.seed}: {record.outcome.state}{reason}")
    return lines


def missing(collected: Collected) -> list[str]:
    """Metrics that no run has, and that the base of Delta lacks."""
    names = {name for row in collected.rows for record in row.finished for name in record.metrics}
    if not names:
        return []
    there = ", ".join(sorted(name for name in names if "-" not in name))
    nowhere = [metric.name for metric in collected.metrics if metric.name not in names]
    lines = [f"No finished run has the metric {name}; there are {there}." for name in nowhere]
    lacking = [metric.name for metric in collected.metrics if metric.task and metric.name not in collected.base]
    if lacking:
        records = [record for row in collected.base_rows for record in row.finished]
        nan = [name for name in lacking if any(name in record.metrics for record in records)]
        why = f", where {', '.join(nan)} is nan" if nan else ""
        lines.append(f"No Delta: its base, {collected.base_name}, has no {', '.join(lacking)}{why}.")
    return lines


def remarks_of_runs(collected: Collected) -> list[str]:
    """What finished runs say of their own results, each line once with the runs that it is about."""
    remarked: dict[str, dict[str, list[str]]] = {}  # line -> method -> seeds
    for row in collected.rows:
        for record in row.finished:
            nothing = [] if record.run.own_results else [why_nothing(record.run)]
            for line in dict.fromkeys([*remarks(record.run), *nothing, *_undefined(collected, record)]):
                remarked.setdefault(line, {}).setdefault(row.entry.name, []).append(record.seed)
    total = sum(len(row.finished) for row in collected.rows)
    lines = []
    for line, methods in remarked.items():
        everywhere = sum(map(len, methods.values())) == total
        of = "all runs" if everywhere else "; ".join(_runs(name, seeds) for name, seeds in methods.items())
        lines.append(f"{of}: {line}")
    return lines


def delta_gaps(collected: Collected, rows: Sequence[Row] | None = None) -> list[str]:
    """Why rows have no Delta, or one of fewer runs: for each row that has a finished run, what the others lack.

    Args:
        collected: all of them.
        rows: those that are told of; None = all.
    """
    gaps = []
    for row in collected.rows if rows is None else rows:
        reasons = dict.fromkeys(reason for record in row.finished for reason in _gaps(collected, record))
        if reasons:
            gaps.append(f"{row.entry.name} ({', '.join(reasons)})")
    return gaps


def _gaps(collected: Collected, record: Record) -> Iterator[str]:
    counted = [metric for metric in collected.metrics if metric.task]
    lacking = [metric.name for metric in counted if metric.name not in record.metrics]
    nan = [metric.name for metric in counted if math.isnan(record.metrics.get(metric.name, 0.0))]
    if lacking:
        yield f"no {' and no '.join(lacking)}"
    if nan:
        yield f"{' and '.join(nan)} nan"
    kinds = {name: CONVENTIONS[name] for name in collected.comparison.conventions}
    for metric in counted:
        value, base = record.metrics.get(metric.name, math.nan), collected.base[metric.name]
        lost = [name for name, kind in kinds.items() if not math.isfinite(kind.change(value, base, metric.higher))]
        if lost and math.isfinite(value):
            yield f"{', '.join(lost)}: {metric.name} {'of the base ' if not base else ''}is 0, and is divided by"


def _undefined(collected: Collected, record: Record) -> list[str]:
    names = [metric.name for metric in collected.metrics if math.isnan(record.metrics.get(metric.name, 0.0))]
    return [f"{', '.join(names)} nan: {WHY_UNDEFINED}"] if names else []


def _runs(name: str, seeds: list[str]) -> str:
    return f"{name}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}"
