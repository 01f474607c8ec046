"""STCH: the worst of the losses' logarithms, smoothly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.checks import not_one_each
from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import require_not_negative
from mtl_d2.balancing.weighting.first_losses import WindowMeans, warn_if_idle
from mtl_d2.options import number, several, whole


@WEIGHTINGS.named("stch")
class STCH(Weighting):
    """Brings down the loss that is worst in comparison with a reference, and the others the less the better they are.

    Paper: Lin, Zhang, Yang, Liu, Wang and Zhang, Smooth Tchebycheff Scalarization for Multi-Objective Optimization,
    ICML 2024, https://arxiv.org/abs/2402.19078, eq. 9, in the form of the authors' multi-task code,
    https://github.com/Xi-L/STCH.
        S = mu K log sum_i exp(log(L_i / n_i) / mu);   w_i = K softmax_i(log(L_i / n_i) / mu) / L_i
    over the K tasks that are present. n_i is the reference, in the code the mean loss of the fifth epoch; before that
    S = sum_i log L_i. The smaller mu, the nearer to the largest L_i / n_i alone; a large one is the sum of logarithms.
    Differs from: the code by epochs of ``PERIOD`` updates after ``WARMUP`` ones, and by 1e-20, which it adds to each
    ratio; a loss of 0 has weight 0 here. A task that the period lacks has its first loss thereafter as reference, and
    until then 1 / L_i. The logged S is that of the weights, K.
    """

    geometric = False  # it is in the logarithms of the losses already
    options = {
        "mu": number(1.0, "smoothness; the authors' default", above=0),
        "warmup": whole(400, "updates on the sum of logarithms before the period", least=0, scales=updates),
        "period": whole(100, "updates whose mean losses are the references; the paper's is an epoch", scales=updates),
        "nadir": several(
            "n_i > 0, one for each task of MTL.TASKS in its order; empty: the means of the period. With them there is "
            "no warm-up",
            number(1.0, "", above=0),
        ),
    }

    nadir: Tensor

    def __init__(self, setup: Setup, mu: float, warmup: int, period: int, nadir: Sequence[float]) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.mu = mu
        self.window = WindowMeans(setup.num_tasks, warmup, period)
        self.given = bool(nadir)
        if not nadir:
            warn_if_idle(setup, warmup + period, "MTL.SCALARIZATION.STCH.WARMUP and PERIOD")
        self.register_buffer("nadir", torch.tensor(nadir or [1.0] * setup.num_tasks, dtype=torch.float64))

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """One reference for each task."""
        return not_one_each(values, "nadir", setup, "one number")

    def forward(self, context: Context) -> Tensor:
        """(T,) weights >= 0, those of absent tasks and of losses of 0 are 0.

        Raises:
            ValueError: a loss is < 0.
        """
        require_not_negative(context.losses[context.present], context, "MTL.SCALARIZATION.NAME 'stch'")
        there = context.present & (context.losses != 0)  # NaN counts, to be found
        weights = torch.zeros_like(context.losses)
        logs = context.losses[there].log()
        known = torch.ones_like(there) if self.given else self.window.known(context.update)
        shares = torch.ones_like(logs)
        compared = known[there]
        if compared.any():
            ratios = (logs - self.references()[there].log())[compared] / self.mu
            shares[compared] = ratios.softmax(0) * len(ratios)
        weights[there] = shares * torch.exp(-logs)
        return weights

    def references(self) -> Tensor:
        """(T,) n_i > 0."""
        return self.nadir if self.given else self.window.means()

    def observe(self, result: UpdateResult) -> None:
        """Takes the losses of the period."""
        self.window.observe(result)

    def scalars(self) -> dict[str, float]:
        """n_i, as they are known."""
        known = self.given | (self.window.counts > 0)
        named = zip(self.tasks, self.references().tolist(), known.tolist(), strict=True)
        return {f"nadir_{task}": value for task, value, there in named if there}
