"""A row scaling of one's own, ``shorten``: no task gradient is longer than a bound. See docs/adding_a_method.md."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, RowScaling, Setup
from mtl_d2.balancing.registry import ROW_SCALINGS
from mtl_d2.options import number


@ROW_SCALINGS.named("shorten")
class Shorten(RowScaling):
    """Shortens each task's gradient on its own, where it is too long: one task's bad batch leaves the others alone.

    Paper: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013,
    https://arxiv.org/abs/1211.5063, algorithm 1, for each task.
        alpha_i = min(1, c / ||g_i||)
    Differs from: the paper, which bounds the gradient of the sum. alpha_i multiplies head i too, as every row scaling
    does. A task without gradient, and an absent one, has alpha = 1.
    """

    options = {"length": number(1.0, "c: the longest gradient that is left as it is", above=0)}

    def __init__(self, setup: Setup, length: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.length = length

    def forward(self, gramian: Tensor | None, context: Context) -> Tensor:
        """(T,) alpha_i in (0, 1]."""
        assert gramian is not None  # because needs_rows
        norms = gramian.diagonal().sqrt()
        long = context.present & (norms > self.length)
        return torch.where(long, self.length / norms, 1.0)
