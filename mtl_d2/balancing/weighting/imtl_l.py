"""IMTL-L: learned scales that bring all losses to 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_d2.balancing.interfaces import Context, Setup, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.options import number


@WEIGHTINGS.named("imtl_l")
class IMTLL(Weighting):
    """Learns one scale for each loss such that all scaled losses are the same.

    Paper: Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, Towards impartial multi-task learning, ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, eq. 6.
        S = sum_i e^s_i L_i - s_i
    The minimum over s is at e^s L = 1. With s = -s' this is twice uncertainty weighting for regression. IMTL is this
    with the aggregator ``imtl_g``.
    Differs from: nothing; the base is e, and s starts at 0, where S is the sum. The s of an absent task is left out of
    S; its gradient is 0.
    """

    geometric = False
    needs_losses = False
    options = {"initial": number(0.0, "s of all tasks before the first update")}

    def __init__(self, setup: Setup, initial: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.s = nn.Parameter(torch.full((setup.num_tasks,), initial, dtype=torch.float64))

    def forward(self, context: Context) -> Tensor:
        """(T,) e^s_i."""
        return torch.exp(self.s)

    def offset(self, present: Tensor) -> Tensor:
        """Minus the sum of the s of present tasks."""
        return -self.s[present].sum()

    def scalars(self) -> dict[str, float]:
        """s_i."""
        return {f"log_scale_{task}": s for task, s in zip(self.tasks, self.s.tolist(), strict=True)}
