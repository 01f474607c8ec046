"""A row scaling of one's own, ``unit``: all task gradients get the same length. See docs/adding_a_method.md."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_d2.balancing.base import Context, Setup
from mtl_d2.balancing.build import ROW_SCALINGS
from mtl_d2.balancing.strategies import RowScaling

LENGTHS = ("max", "mean", "one")


@ROW_SCALINGS.named("unit")
class Unit(RowScaling):
    """Normalises the task gradients to unit norm, then gives them all one length.

    Paper: Lin et al., Dual-Balancing for Multi-Task Learning, 2023, the gradients' half.
        alpha_i = s / ||g_i||,   s = the longest of the ||g_j||, their mean, or 1
    Differs from: the paper, which takes running averages of the gradients and leaves the heads alone; here alpha_i
    multiplies head i too, as every row scaling does. s is over the present tasks whose gradient is not zero; a task
    without gradient keeps alpha = 1.
    """

    defaults = {"length": "max"}
    help = {"length": "s: 'max' (the paper's) or 'mean' of the gradients' norms, or 'one'"}

    def __init__(self, setup: Setup, length: str) -> None:
        """Args are those of ``help``."""
        super().__init__(setup)
        self.length = length

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """The length's name."""
        if options["length"] not in LENGTHS:
            return [f"LENGTH must be one of {LENGTHS}, got {options['length']!r}"]
        return []

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
