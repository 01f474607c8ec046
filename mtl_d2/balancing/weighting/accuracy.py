"""Accuracies of the tasks, from the metrics of evaluations."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_d2.balancing.checks import not_one_each
from mtl_d2.balancing.interfaces import Setup
from mtl_d2.options import Option, choice, number, several
from mtl_d2.results_file import metric_names, own_row

logger = logging.getLogger(__name__)

Results = Mapping[str, Mapping[str, Any]]

MOST = 100.0  # an accuracy of more times its reference counts as this many times, so that an error of 0 is a number


def _is_metric(metric: object) -> bool:
    return isinstance(metric, str) and all(metric.partition("/"))


OPTIONS = {
    "metrics": several(
        "the metric of each task of MTL.TASKS in its order, as an evaluation calls it, e.g. 'bbox/AP', 'sem_seg/mIoU'",
        Option("", "", "'group/name' such as 'bbox/AP'", _is_metric),
    ),
    "direction": several(
        "which is better, for each metric; empty: as its name tells, 'higher' if it is unknown. An error is inverted",
        choice("higher", "", ("higher", "lower")),
    ),
}

POTENTIALS = {
    "potentials": several(
        "p_i for each task, in the unit of its metric; empty: read from POTENTIALS_FROM", number(1.0, "", above=0)
    ),
    "potentials_from": several(
        "folder or results.json of each task's single-task run, whose own row has the metric",
        Option("", "", "a path", lambda value: isinstance(value, str)),
    ),
}


class Accuracies(nn.Module):
    """Each task's metric relative to a reference value, smoothed over evaluations.

        a_i = metric_i / reference_i, or reference_i / metric_i for an error;   k_i <- m a_i + (1 - m) k_i
    The first value is taken as it is. Metrics that are NaN leave k_i as it was; that is logged once for each task.
    """

    ratios: Tensor
    seen: Tensor
    references: Tensor

    def __init__(
        self,
        metrics: Sequence[str],
        direction: Sequence[str],
        references: Sequence[float],
        momentum: float,
        setup: Setup,
    ) -> None:
        """Args are those of ``OPTIONS``; ``references``: T values > 0, in the units of the metrics."""
        super().__init__()
        T = setup.num_tasks
        self.metrics = tuple(metrics)
        self.direction = directions(metrics, direction, setup)
        self.momentum = momentum
        self.register_buffer("ratios", torch.zeros(T, dtype=torch.float64))  # k_i
        self.register_buffer("seen", torch.zeros(T, dtype=torch.bool))
        self.register_buffer("references", torch.tensor(list(references), dtype=torch.float64))
        self._warned: set[str] = set()

    def read(self, results: Results) -> None:
        """Takes the metrics of one evaluation.

        Raises:
            ValueError: a metric is not among them.
        """
        metrics = [find_metric(results, metric) for metric in self.metrics]
        ratios = torch.zeros_like(self.ratios)
        known = torch.zeros_like(self.seen)
        for i, (metric, value) in enumerate(zip(self.metrics, metrics, strict=True)):
            if math.isnan(value):
                self._warn(metric)
                continue
            reference = self.references[i].item()
            known[i] = True
            ratios[i] = value / reference if self.direction[i] == "higher" else _inverted(value, reference)
        self.blend(ratios, known)

    def blend(self, ratios: Tensor, known: Tensor) -> None:
        """Smooths new a_i ((T,) float64) into k_i for the tasks that ``known`` ((T,) bool) marks."""
        ratios = ratios.clamp(0.0, MOST)
        smooth = torch.where(self.seen, self.ratios + self.momentum * (ratios - self.ratios), ratios)
        self.ratios.copy_(torch.where(known, smooth, self.ratios))
        self.seen |= known

    def _warn(self, metric: str) -> None:
        if metric not in self._warned:
            self._warned.add(metric)
            logger.warning("Metric %s is NaN; its task keeps the weight it had. This is said once.", metric)

    def named(self, tasks: Sequence[str], prefix: str) -> dict[str, float]:
        """k_i of the tasks that have one, by ``prefix`` and task."""
        values = zip(tasks, self.ratios.tolist(), self.seen.tolist(), strict=True)
        return {f"{prefix}_{task}": ratio for task, ratio, seen in values if seen}


def directions(metrics: Sequence[str], given: Sequence[str], setup: Setup) -> tuple[str, ...]:
    """'higher' or 'lower' for each of ``metrics``: the ``given`` ones, or what their names tell."""
    return tuple(given) or tuple("lower" if setup.higher_is_better(m) is False else "higher" for m in metrics)


def find_metric(results: Results, metric: str, where: str = "the evaluation") -> float:
    """The value of ``metric``, a 'group/name'; NaN if it is None.

    Raises:
        ValueError: it is not there.
    """
    group, _, name = metric.partition("/")
    if name not in results.get(group, {}):
        there = ", ".join(metric_names(results)) or "no metric"
        raise ValueError(f"metric {metric!r} is not in {where}, which has {there}; name one of those in METRICS")
    value = results[group][name]
    return math.nan if value is None else float(value)


def read_reference(path: str, metric: str) -> float:
    """The value > 0 of ``metric`` in a run's own row of its ``results.json``.

    Args:
        path: the file, or the folder of the run.
        metric: "group/name".

    Raises:
        ValueError: there is no such file, row or metric, or its value is not a number > 0.
    """
    if Path(path).is_dir():
        path = str(Path(path, "results.json"))
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"results of a single-task run cannot be read from {path}: {error}; train and evaluate that task alone "
            "first, or give its value in POTENTIALS"
        ) from error
    row = own_row(content) if isinstance(content, dict) else None
    if row is None:
        raise ValueError(f"{path} has no row of the run's own; evaluate that run, or give its value in POTENTIALS")
    value = find_metric(content[row], metric, f"the row {row!r} of {path}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{metric} in the row {row!r} of {path} must be a number > 0, got {value}; see POTENTIALS")
    return value


def check_metrics(values: Mapping[str, Any], setup: Setup) -> list[str]:
    """Complaints about the number of ``metrics`` and ``direction``."""
    return [
        *not_one_each(values, "metrics", setup, "a metric 'group/name', e.g. 'bbox/AP',", empty=False),
        *not_one_each(values, "direction", setup, "'higher' or 'lower'"),
    ]


def read_potentials(
    metrics: Sequence[str], potentials: Sequence[float], potentials_from: Sequence[str], setup: Setup
) -> Sequence[float]:
    """The ``potentials``, or what ``potentials_from`` has of ``metrics``; 1 where neither is given.

    Raises:
        ValueError: a potential cannot be read.
    """
    read = [read_reference(*pair) for pair in zip(potentials_from, metrics, strict=False)]
    return potentials or read or [1.0] * setup.num_tasks


def check_potentials(values: Mapping[str, Any], setup: Setup) -> list[str]:
    """Complaints about ``metrics``, and about the single-task values that they are compared with."""
    potentials, paths = values["potentials"], values["potentials_from"]
    complaints = check_metrics(values, setup)
    if bool(potentials) == bool(paths):
        given = f"{tuple(potentials)} and {tuple(paths)}"
        return [*complaints, f"give exactly one of POTENTIALS and POTENTIALS_FROM, got {given}"]
    complaints += not_one_each(values, "potentials", setup, "the single-task accuracy")
    complaints += not_one_each(values, "potentials_from", setup, "the results.json of its single-task run")
    for path, metric in zip(paths, values["metrics"], strict=False):
        try:
            read_reference(path, metric)
        except ValueError as error:
            complaints.append(f"POTENTIALS_FROM: {error}")
    return complaints


def _inverted(error: float, reference: float) -> float:
    return reference / error if error > 0 else MOST
