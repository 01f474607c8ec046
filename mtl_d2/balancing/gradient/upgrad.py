"""UPGrad: each gradient made free of conflict with all others, then averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context
from mtl_d2.balancing.quadratic import harmless
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("upgrad")
class UPGrad(Aggregator):
    """The mean of the task gradients after each was projected onto the directions that harm no task.

    Paper: Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024, https://arxiv.org/abs/2406.16232,
    eq. 7 and proposition 1.
        p_i = the point of {x: g_j . x >= 0 for all j} that is closest to g_i;  update = 1/T sum_i p_i
        p_i = g_i + sum_j l_j g_j with l = argmin_{l >= 0} ||g_i + sum_j l_j g_j||^2
    Without conflict it is the mean: scale "mean".
    Differs from: nothing; the mean is over the tasks that are present. Of gradients that are opposite but for eps of
    their length, what is left has a relative error of about 1e-15 / eps.
    """

    scale = "mean"
    takes_coordinates = True

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 1/K."""
        assert context.rows is not None
        added = torch.stack([harmless(context.rows, row) for row in context.rows])
        return (1 + added.sum(0)) / len(gramian)
