"""MGDA: the shortest convex combination of the task gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.balancing.quadratic import min_norm_point
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import choice


@AGGREGATORS.named("mgda")
class MGDA(Aggregator):
    """The shortest vector in the convex hull of the task gradients.

    Paper: Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018,
    https://arxiv.org/abs/1810.04650, eq. 3.
        min_w ||sum_i w_i g_i / n_i||^2  over w >= 0, sum_i w_i = 1;  update = sum_i w_i g_i
        n_i = 1 (none), ||g_i|| (l2), L_i (loss), L_i ||g_i|| (loss+)
    The weights add up to 1: scale "mean".
    Differs from: the authors' code, which stops Frank-Wolfe early (this is the exact solution), uses loss+ in its
    sample settings (here none, as in the paper's text) and multiplies the heads by w as well (MTL.GRADIENT.HEADS
    "weights"). Some code multiplies by T (MTL.GRADIENT.SCALE "sum").
    """

    scale = "mean"
    takes_coordinates = True
    options = {
        "normalization": choice(
            "none", "n_i: 1, the gradient's norm, the loss, or their product", ("none", "l2", "loss", "loss+")
        )
    }

    def __init__(self, setup: Setup, normalization: str) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.by_norm = normalization in ("l2", "loss+")
        self.by_loss = normalization in ("loss", "loss+")

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 0 with sum 1.

        Raises:
            ValueError: a loss <= 0 is to be divided by.
        """
        n = torch.ones(len(gramian), dtype=torch.float64)
        if self.by_norm:
            n = n * gramian.diagonal().sqrt()
        if self.by_loss:
            if (context.losses <= 0).any():
                raise ValueError(
                    f"MGDA's normalization by losses needs losses > 0, got {context.losses.tolist()} in update "
                    f"{context.update}; set NORMALIZATION to 'none' or 'l2'"
                )
            n = n * context.losses
        assert context.rows is not None
        return min_norm_point(context.rows / n[:, None])
