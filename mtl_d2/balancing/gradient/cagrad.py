"""CAGrad: the best worst-case improvement near the mean gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.balancing.quadratic import min_norm_point
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import choice, number

FLOOR = 1e-4  # of the shortest gradient, for ||g_w||: bounds the weights where tasks oppose each other


@AGGREGATORS.named("cagrad")
class CAGrad(Aggregator):
    """The direction within a ball around the mean gradient that improves the worst task most.

    Paper: Liu, Liu, Jin, Stone and Liu, Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS 2021,
    https://arxiv.org/abs/2110.14048, algorithm 1.
        g_0 = mean of the g_i;  w = argmin over the simplex of g_w . g_0 + c ||g_0|| ||g_w||,  g_w = sum_i w_i g_i
        d = g_0 + c ||g_0|| / ||g_w|| * g_w;  update = d / (1, 1 + c^2 or 1 + c)   (rescale 0, 1 or 2)
    Solved exactly: for r = ||g_w|| / (c ||g_0||), r d is the shortest vector in the convex hull of the g_i + r g_0, and
    ||g_w|| / r falls with r, so r is the root of one equation.
    c = 0 is the mean; the weights of orthonormal rows add up to (1 + c) / (1, 1 + c^2 or 1 + c): scale "mean".
    Differs from: the authors' code, which then multiplies the direction by T and leaves the heads at 1
    (MTL.GRADIENT.SCALE "sum" multiplies both by T), and adds 1e-8 inside the square roots; here ||g_w|| is kept above
    1e-4 of the shortest g_i. The mean is over the tasks that are present.
    Rescale 1 and c = 0.4 are what the authors' scripts use; algorithm 1 is rescale 0.
    """

    scale = "mean"
    takes_coordinates = True
    options = {
        "c": number(0.4, "radius of the ball over ||g_0||; 0 gives the mean", least=0, below=1),
        "rescale": choice(1, "0: algorithm 1; 1: divided by 1 + c^2; 2: divided by 1 + c", (0, 1, 2)),
    }

    def __init__(self, setup: Setup, c: float, rescale: int) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.c = c
        self.shrink = 1 / (1.0, 1 + c**2, 1 + c)[rescale]

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 1/K times the factor of ``rescale``."""
        from scipy.optimize import brentq  # a fifth of a second that other methods do without

        assert context.rows is not None
        rows, mean_row = context.rows, context.rows.mean(0)
        mean = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
        square = float(mean_row @ mean_row)
        if self.c == 0 or square < 1e-15:  # without a mean gradient the ball is a point
            return mean * self.shrink
        radius = self.c * math.sqrt(square)

        def weights(log_r: float) -> Tensor:
            r = math.exp(log_r)
            return min_norm_point(rows + r * mean_row)

        def excess(log_r: float) -> float:
            w = weights(log_r)
            return math.log(max(float((w @ rows).norm()), 1e-150)) - math.log(radius) - log_r

        norms = rows.norm(dim=1)
        bound = max(FLOOR * float(norms.min()), float((min_norm_point(rows) @ rows).norm()))  # none is shorter
        low = math.log(bound / radius)
        high = math.log(2 * float(norms.max()) / radius)
        log_r = low if excess(low) <= 0 else brentq(excess, low, high, xtol=1e-10)
        return (mean + weights(log_r) / math.exp(log_r)) * self.shrink
