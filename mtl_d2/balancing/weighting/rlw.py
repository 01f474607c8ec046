"""RLW: random loss weights."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS


@WEIGHTINGS.named("rlw")
class RLW(Weighting):
    """Weights drawn anew in every update.

    Paper: Lin, Ye, Zhang and Tsang, Reasonable effectiveness of random weighting: a litmus test for multi-task
    learning, TMLR 2022, https://arxiv.org/abs/2111.10603, algorithm 2.
        w = softmax(z),   z_i ~ N(0, 1)
    They add up to 1, so that S is in expectation the mean of the losses and not their sum.
    Differs from: nothing. All T weights are drawn whichever tasks are present; the draw is keyed by seed and update.
    """

    needs_losses = False

    def forward(self, context: Context) -> Tensor:
        """(T,) weights > 0 that add up to 1."""
        z = torch.randn(len(context.present), generator=context.generator, dtype=torch.float64)
        return z.softmax(0)
