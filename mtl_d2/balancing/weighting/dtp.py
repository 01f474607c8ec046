"""DTP: dynamic task prioritization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.checks import not_one_each
from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import FLOOR
from mtl_d2.balancing.weighting.accuracy import OPTIONS, Accuracies, Results, check_metrics, directions
from mtl_d2.options import choice, number, several


@WEIGHTINGS.named("dtp")
class DTP(Weighting):
    """Gives more weight to a task the less accurate it is.

    Paper: Guo, Haque, Huang, Yeung and Fei-Fei, Dynamic task prioritization for multitask learning, ECCV 2018,
    https://openaccess.thecvf.com/content_ECCV_2018/html/Michelle_Guo_Focus_on_the_ECCV_2018_paper.html, eq. 3-5.
        k_i <- m kpi_i + (1 - m) k_i,   w_i = -(1 - k_i)^gamma log k_i
    kpi_i in [0, 1] is the task's validation accuracy, its metric divided by ``BEST``; w_i = 1 before the first.
    Differs from: the paper, which measures kpi on the training batch in every update; ``SOURCE`` 'training' comes close
    to that with kpi_i = exp(-L_i), for a cross entropy the (geometric) mean probability of the true class. The focal
    loss over examples is left to the heads. The first kpi is taken as it is, k_i is kept in [1e-20, 1], and no weight
    is below 1e-12. A metric that is an error gives kpi_i = BEST_i / error_i. A task absent from a batch is left out
    there.
    """

    needs_losses = False
    options = {
        "source": choice(
            "evaluation", "where accuracies come from; 'training': e^-L_i, without metrics", ("evaluation", "training")
        ),
        **OPTIONS,
        "best": several(
            "value of each metric that counts as accuracy 1, in the metric's unit; empty: 100 for all, as detectron2 "
            "gives AP and mIoU in percent. For an error: what counts as perfect, which has to be said",
            number(100.0, "", above=0),
        ),
        "gamma": number(
            0.5, "the paper's gamma; 0.5 as those who compare the method with achievement weights", least=0
        ),
        "momentum": number(0.1, "share of a new accuracy in the smoothed one (the paper's alpha)", above=0, most=1),
    }

    def __init__(
        self,
        setup: Setup,
        source: str,
        metrics: Sequence[str],
        direction: Sequence[str],
        best: Sequence[float],
        gamma: float,
        momentum: float,
    ) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.from_losses = source == "training"
        self.gamma = gamma
        self.accuracies = Accuracies(metrics, direction, best or [100.0] * setup.num_tasks, momentum, setup)

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """Metrics where they are needed, and as many values as tasks."""
        metrics = check_metrics(values, setup) if values["source"] == "evaluation" else []
        return metrics + (not_one_each(values, "best", setup, "a value") or _check_best(values, setup))

    @classmethod
    def needs_evaluation(cls, values: Mapping[str, Any]) -> bool:
        """Unless the accuracies are those of training."""
        return values["source"] == "evaluation"

    def forward(self, context: Context) -> Tensor:
        """(T,) weights > 0, those of tasks without an accuracy 1."""
        k = self.accuracies.ratios.clamp(1e-20, 1.0)
        weights = (-((1 - k) ** self.gamma) * k.log()).clamp(min=FLOOR)
        return torch.where(self.accuracies.seen, weights, torch.ones_like(weights))

    def observe(self, result: UpdateResult) -> None:
        """Takes accuracies from the losses, if they are to come from there."""
        if self.from_losses:
            self.accuracies.blend(torch.exp(-result.losses), result.present)

    def on_evaluation(self, results: Results) -> None:
        """Takes accuracies from metrics, if they are to come from there.

        Raises:
            ValueError: a metric is not in ``results``.
        """
        if not self.from_losses:
            self.accuracies.read(results)

    def scalars(self) -> dict[str, float]:
        """k_i, from the first accuracy on."""
        return self.accuracies.named(self.tasks, "accuracy")


def _check_best(values: Mapping[str, Any], setup: Setup) -> list[str]:
    """No error is perfect at 100."""
    metrics = [metric for metric in values["metrics"] if isinstance(metric, str)]
    found = zip(metrics, directions(metrics, values["direction"], setup), strict=False)
    errors = [metric for metric, direction in found if direction == "lower"]
    if values["best"] or not errors:
        return []
    return [f"BEST needs a value for each metric, as {errors[0]!r} is an error: the one that counts as perfect"]
