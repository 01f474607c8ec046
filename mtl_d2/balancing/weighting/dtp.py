"""DTP: dynamic task prioritization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_d2.balancing.base import Context, Setup, UpdateResult
from mtl_d2.balancing.build import WEIGHTINGS
from mtl_d2.balancing.strategies import Weighting
from mtl_d2.balancing.weighting.accuracy import HELP, Accuracies, Results, check_metrics
from mtl_d2.balancing.weighting.options import FLOOR, check_choice, check_length, check_number


@WEIGHTINGS.named("dtp")
class DTP(Weighting):
    """Gives more weight to a task the less accurate it is.

    Paper: Guo, Haque, Huang, Yeung and Fei-Fei, Dynamic task prioritization for multitask learning, ECCV 2018, eq. 3-5.
        k_i <- m kpi_i + (1 - m) k_i,   w_i = -(1 - k_i)^gamma log k_i
    kpi_i in [0, 1] is the task's validation accuracy, its metric divided by ``BEST``; w_i = 1 before the first.
    Differs from: the paper, which measures kpi on the training batch in every update; ``SOURCE`` 'training' comes close
    to that with kpi_i = exp(-L_i), for a cross entropy the (geometric) mean probability of the true class. The focal
    loss over examples is left to the heads. The first kpi is taken as it is, k_i is kept in [1e-20, 1], and no weight
    is below 1e-12. A metric that is an error gives kpi_i = BEST_i / error_i. A task absent from a batch is left out
    there.
    """

    needs_losses = False
    defaults = {
        "source": "evaluation",
        "metrics": (),
        "direction": (),
        "best": (),
        "gamma": 0.5,
        "momentum": 0.1,
    }
    help = {
        "source": "where the accuracies come from: 'evaluation', or 'training', which needs no metrics",
        **HELP,
        "best": "value > 0 of each metric that counts as accuracy 1, in the metric's unit; empty: 100 for all, as "
        "detectron2 gives AP and mIoU in percent. For an error: what counts as perfect",
        "gamma": ">= 0, the paper's gamma; 0.5 as those who compare the method with achievement weights",
        "momentum": "share of a new accuracy in the smoothed one, in (0, 1] (the paper's alpha)",
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
        """Args are those of ``help``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.from_losses = source == "training"
        self.gamma = gamma
        T = setup.num_tasks
        self.accuracies = Accuracies(metrics, direction, best or [100.0] * T, momentum, T)

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """Metrics where they are needed, ranges."""
        best = options["best"]
        assert isinstance(best, Sequence)
        found = check_choice(options, "source", ("evaluation", "training"))
        if options["source"] == "evaluation":
            found += check_metrics(options, setup)
        found += check_length(options, "best", setup, "a value")
        found += [line for value in best for line in check_number({"best": value}, "best", above=0)]
        return [
            *found,
            *check_number(options, "gamma", least=0),
            *check_number(options, "momentum", above=0, most=1),
        ]

    @classmethod
    def needs_evaluation(cls, options: Mapping[str, object]) -> bool:
        """Unless the accuracies are those of training."""
        return options["source"] == "evaluation"

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
