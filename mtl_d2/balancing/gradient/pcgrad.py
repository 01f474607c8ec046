"""PCGrad: conflicting gradients are projected onto each other's normal planes."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("pcgrad")
class PCGrad(Aggregator):
    """The sum of the task gradients after each has lost what conflicts with the others.

    Paper: Yu, Kumar, Gupta, Levine, Hausman and Finn, Gradient Surgery for Multi-Task Learning, NeurIPS 2020,
    https://arxiv.org/abs/2001.06782, algorithm 1.
        for each i, from p_i = g_i, for each j != i in random order:
            p_i <- p_i - min(p_i . g_j, 0) / ||g_j||^2 * g_j
        update = sum_i p_i
    The order is drawn anew for each i. Without conflict the weights are 1: scale "sum".
    Differs from: nothing in the paper. Some public code takes the mean of the p_i, shuffles one list in place, or
    projects g_i on itself.
    """

    scale = "sum"

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 1."""
        G = gramian.numpy()
        weights = torch.zeros(len(G), dtype=torch.float64)
        for i in range(len(G)):
            projected = torch.zeros(len(G), dtype=torch.float64).numpy()
            projected[i] = 1.0
            for j in torch.randperm(len(G), generator=context.generator).tolist():
                inner = G[j] @ projected
                if j != i and inner < 0:
                    projected[j] -= inner / G[j, j]
            weights += torch.from_numpy(projected)
        return weights
