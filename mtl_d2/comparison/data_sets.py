"""The methods that several comparisons have in common, and what each scores in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.ranks import MANY_SETS, Ranking, ranked
from mtl_d2.comparison.significance import LEVEL
from mtl_d2.evaluation.delta import CONVENTIONS

BY_METRICS = "metrics"  # in place of a convention of Delta
BY = (*CONVENTIONS, BY_METRICS)
FEWEST_SETS, FEWEST_METHODS = 2, 3


def rank_all(comparisons: Sequence[Collected], by: str, only: Sequence[str] = ()) -> tuple[Ranking, list[str]]:
    """Ranks the methods that all comparisons have, single-task baselines left out, by their means over the seeds.

    Args:
        comparisons: one for each data set.
        by: a convention of Delta, or "metrics": on each data set the ranks in each metric, their mean over the metrics
            of a task, and of these over the tasks; then the rank of that mean.
        only: methods to rank; empty for all.

    Returns:
        The ranks, and what a reader must know of them.

    Raises:
        ComparisonError: there are too few data sets or methods, or a comparison lacks what is ranked by.
    """
    mistakes = [] if len(comparisons) >= FEWEST_SETS else [_too_few(comparisons)]
    folders = [collected.comparison.output.resolve() for collected in comparisons]
    mistakes += [f"{folder} is given twice; each data set counts once" for folder in _twice(folders)]
    mistakes += [line for collected in comparisons for line in _lacks(collected, by, only)]
    if mistakes:
        raise ComparisonError("the ranking", mistakes)
    tables = [{row.entry.name: _score(collected, row, by) for row in _rows(collected)} for collected in comparisons]
    named = list(only) or list(dict.fromkeys(name for table in tables for name in table))
    common = [name for name in named if all(math.isfinite(table.get(name, math.nan)) for table in tables)]
    names = _names(comparisons)
    notes = _left_out(names, tables, named)
    if len(common) < FEWEST_METHODS:
        have = ", ".join(common) or "none"
        line = f"it needs at least {FEWEST_METHODS} methods that every comparison has under the same name; found {have}"
        raise ComparisonError("the ranking", [line, *notes])
    scores = [_compared(collected, table, common, by) for collected, table in zip(comparisons, tables, strict=True)]
    ranking = ranked(common, names, scores)
    return ranking, [*_power(ranking), *notes, *_fewer_runs(comparisons, common), *_same_data(comparisons)]


def _rows(collected: Collected) -> list[Row]:
    return [row for row in collected.rows if not row.entry.baseline]


def _names(comparisons: Sequence[Collected]) -> list[str]:
    """Those of the folders, whole where two are called the same."""
    folders = [collected.comparison.output for collected in comparisons]
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else list(map(str, folders))


def _counted(collected: Collected) -> list[str]:
    return [metric.name for metric in collected.metrics if metric.task]


def _score(collected: Collected, row: Row, by: str) -> float:
    """Lower is better; NaN where something is missing. By metrics: 0 where nothing is."""
    if by != BY_METRICS:
        return collected.delta(row, by).mean * (-1 if CONVENTIONS[by].higher else 1)
    return 0.0 if all(row.summary(name).count for name in _counted(collected)) else math.nan


def _compared(collected: Collected, scores: dict[str, float], methods: Sequence[str], by: str) -> list[float]:
    """The scores of the methods that are ranked; by metrics their mean ranks among each other."""
    if by != BY_METRICS:
        return [scores[name] for name in methods]
    rows = {row.entry.name: row for row in collected.rows}
    ranks: dict[str, list[np.ndarray]] = {}
    for metric in (metric for metric in collected.metrics if metric.task):
        sign = -1 if metric.higher else 1
        column = rankdata([sign * rows[name].summary(metric.name).mean for name in methods])
        ranks.setdefault(metric.task, []).append(column)
    means = np.mean([np.mean(columns, axis=0) for columns in ranks.values()], axis=0)
    return [round(float(mean), 9) for mean in means]  # equal sums of fractions are equal


def _too_few(comparisons: Sequence[Collected]) -> str:
    found = ", ".join(_names(comparisons)) or "none"
    return f"it is over data sets: give at least {FEWEST_SETS} finished comparisons; got {found}"


def _twice(folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in dict.fromkeys(folders) if folders.count(folder) > 1]


def _lacks(collected: Collected, by: str, only: Sequence[str]) -> list[str]:
    """Why a comparison cannot be ranked at all."""
    (name,) = _names([collected])
    there = [row.entry.name for row in _rows(collected)]
    if not any(row.finished for row in _rows(collected)):
        return [f"{name} has no finished run in {collected.comparison.output}; give the folder where they are"]
    lines = [f"{name} has no method {method!r}; there are {', '.join(there)}" for method in only if method not in there]
    missing = [metric for metric in _counted(collected) if by != BY_METRICS and metric not in collected.base]
    if not _counted(collected):
        lines.append(f"{name} has no metric that counts for a task; name them under `metrics` in its file")
    if missing:
        lines.append(
            f"{name} has no Δ: its base, {collected.base_name}, has no {', '.join(missing)}; name another "
            f"`delta: base` in its file, or rank by `{BY_METRICS}`"
        )
    return lines


def _left_out(names: Sequence[str], tables: Sequence[dict[str, float]], methods: Sequence[str]) -> list[str]:
    """The methods that not every comparison has a number of: one line for those that lack the same."""
    lacking: dict[str, list[str]] = {}  # the reason -> the methods
    for method in methods:
        absent = [name for name, table in zip(names, tables, strict=True) if method not in table]
        empty = [n for n, table in zip(names, tables, strict=True) if not math.isfinite(table.get(method, 0.0))]
        parts = [f"not in {', '.join(absent)}"] if absent else []
        parts += [f"without a finished run that has all metrics in {', '.join(empty)}"] if empty else []
        if parts:
            lacking.setdefault("; ".join(parts), []).append(method)
    return [f"Left out: {', '.join(methods)}: {reason}." for reason, methods in lacking.items()]


def _power(ranking: Ranking) -> list[str]:
    """What so few data sets can tell."""
    sets, methods = len(ranking.data_sets), len(ranking.methods)
    few = f"With {sets} data sets and {methods} methods"
    if ranking.smallest_p >= LEVEL:
        return [
            f"{few} Friedman's test finds nothing whatever the ranks are: its p is {ranking.smallest_p:.2f} or more."
        ]
    if ranking.critical > methods - 1:
        return [
            f"{few} no two methods can be told apart: the critical difference, {ranking.critical:.2f}, is larger than "
            f"that of the first and the last rank, {methods - 1}."
        ]
    if sets <= MANY_SETS:
        return [
            f"{few} only large differences show: mean ranks must be {ranking.critical:.2f} of at most {methods - 1} "
            "apart. That no difference is found says little."
        ]
    return []


def _fewer_runs(comparisons: Sequence[Collected], methods: Sequence[str]) -> list[str]:
    return [
        f"{name}: {row.entry.name} has {row.counted} runs."
        for name, collected in zip(_names(comparisons), comparisons, strict=True)
        for row in collected.rows
        if row.entry.name in methods and len(row.finished) < len(row.records)
    ]


def _same_data(comparisons: Sequence[Collected]) -> list[str]:
    """Comparisons that were trained on the same data sets: the test takes each for an independent one."""
    trained = [_trained_on(collected) for collected in comparisons]
    return [
        f"{a} and {b} were trained on the same data; the test takes them for two data sets, and claims too much."
        for (a, first), (b, second) in combinations(zip(_names(comparisons), trained, strict=True), 2)
        if first and first == second
    ]


def _trained_on(collected: Collected) -> frozenset[str]:
    """DATASETS.TRAIN of all methods' runs, as their configs say it."""
    runs = [record.run for row in _rows(collected) for record in row.finished]
    return frozenset(str(name) for run in runs for name in run.setting("DATASETS.TRAIN") or ())
