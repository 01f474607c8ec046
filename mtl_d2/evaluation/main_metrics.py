"""Which of its metrics stand for a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mtl_d2.evaluation.delta import Metric, direction
from mtl_d2.evaluation.variants import variant_of

# Metrics that stand for their group where a file names none; a group without any of them shows all it has.
MAIN = ("AP", "mIoU", "accuracy", "abs_err", "rmse", "mean_angle")


def task_of(name: str) -> str:
    """The task that a metric belongs to: its group, or its name among the accuracies, whose mean is no task's."""
    group, _, last = name.rpartition("/")
    if group.partition("@")[0] != "accuracy":
        return group
    return "" if last == "harmonic_mean" else last


def main_metrics(names: Sequence[str], directions: Mapping[str, bool] = MappingProxyType({})) -> tuple[Metric, ...]:
    """The main metrics among those that runs have, of the first test set that has them and the weights themselves.

    Args:
        names: ``group/metric``, in the order of the tables.
        directions: of metrics whose name does not tell; those without a direction are left out.
    """
    higher = {name: directions.get(name, direction(name)) for name in names}
    known = [name for name in names if not set("-@") & set(name) and higher[name] is not None and not variant_of(name)]
    groups: dict[str, list[str]] = {}
    for name in known:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    chosen = []
    for members in groups.values():
        main = [name for name in members if name.rpartition("/")[2] in MAIN]
        chosen += [Metric(name, task_of(name), bool(higher[name])) for name in main or members]
    return tuple(chosen)
