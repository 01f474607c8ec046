"""Delta: how much a multi-task model gains or loses against a base, over all its metrics, as the papers count it.

The conventions are not interchangeable: they differ in sign, in what is averaged first, and in whether differences are
relative. Each has a name, which belongs beside every number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mtl_d2.tasks.registry import all_kinds, kind_of_group

# Metrics of none of our kinds of task, by the last part of their name: whether higher is better.
OTHER_METRICS = dict.fromkeys(("PQ", "SQ", "RQ", "pixel_accuracy", "accuracy", "harmonic_mean"), True) | dict.fromkeys(
    ("l1", "error", "loss"), False
)


@dataclass(frozen=True)
class Metric:
    """A metric of a task.

    Attributes:
        name: `group/metric`, as in `bbox/AP`.
        task: metrics of one task count as one in the conventions that average per task; "" for a metric that does not
            count in any.
        higher: whether higher is better.
    """

    name: str
    task: str
    higher: bool


@dataclass(frozen=True)
class Convention:
    """One way to count.

    Attributes:
        higher: whether a higher Delta is better.
        unit: "%", or the metrics' own.
        what: the formula in words.
        count: from one signed change for each metric of each task to a number; `NaN` if any of them is.
        change: the signed change of one metric: value, base, higher is better.
    """

    higher: bool
    unit: str
    what: str
    count: Callable[[Sequence[Sequence[float]]], float]
    change: Callable[[float, float, bool], float]


def known_metrics() -> dict[str, bool]:
    """By the last part of a metric's name, before any "@data set": whether higher is better."""
    return OTHER_METRICS | {name: higher for kind in all_kinds() for name, higher in kind.metrics.items()}


def direction(name: str) -> bool | None:
    """Whether higher is better in the metric `group/name`, by its name; None if the name is not known."""
    group, _, last = name.rpartition("/")
    kind = kind_of_group(group.partition("@")[0])
    return known_metrics().get(last, kind.metrics.get("*") if kind else None)


def delta(convention: str, values: Mapping[str, float], base: Mapping[str, float], metrics: Sequence[Metric]) -> float:
    """Delta of a model against a base.

    Args:
        convention: one of `CONVENTIONS`.
        values: the model's metrics by name, in the units of `base`.
        base: the base's, not 0 where the convention divides by them.
        metrics: which of them count; those of no task are left out.

    Returns:
        In percent, or in the metrics' own unit for `sta`. NaN where a value is missing, NaN or infinite.
    """
    kind = CONVENTIONS[convention]
    changes: dict[str, list[float]] = {}
    for metric in (metric for metric in metrics if metric.task):
        value, reference = values.get(metric.name, math.nan), base.get(metric.name, math.nan)
        finite = math.isfinite(value) and math.isfinite(reference)
        changes.setdefault(metric.task, []).append(kind.change(value, reference, metric.higher) if finite else math.nan)
    return kind.count(list(changes.values())) if changes else math.nan


def _per_task(changes: Sequence[Sequence[float]]) -> float:
    return fmean(fmean(task) for task in changes)


def _at_once(changes: Sequence[Sequence[float]]) -> float:
    return fmean(change for task in changes for change in task)


def _relative_drop(value: float, base: float, higher: bool) -> float:
    """Percent by which the value is worse than the base."""
    return -100 * _difference(value, base, higher) / base if base else math.nan


def _difference(value: float, base: float, higher: bool) -> float:
    return value - base if higher else base - value


def _ratio_gain(value: float, base: float, higher: bool) -> float:
    """Percent of acc / p - 1, or of p / err - 1."""
    over, under = (value, base) if higher else (base, value)
    return 100 * (over / under - 1) if under else math.nan


CONVENTIONS = {
    "mclgs": Convention(False, "%", "mean over tasks of their mean relative drop", _per_task, _relative_drop),
    "cagrad": Convention(False, "%", "mean relative drop of all metrics at once", _at_once, _relative_drop),
    "sta": Convention(True, "", "mean of the differences, in the metrics' own units", _at_once, _difference),
    "acc": Convention(True, "%", "mean over tasks of accuracy / base - 1, base / error - 1", _per_task, _ratio_gain),
}
