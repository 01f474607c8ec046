"""Unit: all task gradients get one length, in front of any aggregator."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, RowScaling, Setup
from mtl_d2.balancing.registry import ROW_SCALINGS
from mtl_d2.options import choice


@ROW_SCALINGS.named("unit")
class Unit(RowScaling):
    """Normalises the task gradients, then gives them all one length.

    As many methods begin: Chen et al., GradNorm, ICML 2018, https://arxiv.org/abs/1711.02257, by weights that are
    trained; Lin et al., Dual-Balancing for Multi-Task Learning, 2023, https://arxiv.org/abs/2308.12029, by ``max``.
        alpha_i = s / ||g_i||,   s = the longest of the ||g_j||, their mean, or 1
    With the aggregator ``sum`` and length 1 it is the sum of the unit gradients.
    Differs from: DB-MTL, which leaves the heads alone (``dbmtl``); here alpha_i multiplies head i too, as every row
    scaling does. s is over the present tasks whose gradient is not zero; a task without gradient keeps alpha = 1.
    """

    options = {
        "length": choice("max", "s: the longest of the gradients' norms, their mean, or 1", ("max", "mean", "one"))
    }

    def __init__(self, setup: Setup, length: str) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.length = length

    def forward(self, gramian: Tensor | None, context: Context) -> Tensor:
        """(T,) alpha_i > 0."""
        assert gramian is not None  # because needs_rows
        norms = gramian.diagonal().sqrt()
        moving = context.present & (norms > 0)
        alpha = torch.ones_like(norms)
        if moving.any():
            s = {"max": norms[moving].max(), "mean": norms[moving].mean(), "one": norms.new_ones(())}[self.length]
            alpha[moving] = s / norms[moving]
        return alpha
