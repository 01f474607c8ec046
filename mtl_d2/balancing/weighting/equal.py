"""Equal weights: S = sum_i L_i."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, Setup, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS


@WEIGHTINGS.named("equal")
class Equal(Weighting):
    """The same weight for every task, whatever its loss.

        w_i = 1
    With the geometric mean this is GLS, S = (prod_i L_i)^(1/T) over the present tasks (Chennupati et al., MultiNet++:
    multi-stream feature aggregation and geometric loss strategy for multi-task learning, CVPR workshops 2019,
    https://arxiv.org/abs/1904.08492, eq. 3).
    Differs from: the mean of the losses, by the factor T. The 1/T belongs to the aggregator ``mean``.
    """

    needs_losses = False

    def __init__(self, setup: Setup) -> None:
        """Args: ``setup`` names the tasks."""
        super().__init__(setup)
        self.num_tasks = setup.num_tasks

    def constant(self) -> Tensor:
        """(T,) ones."""
        return torch.ones(self.num_tasks, dtype=torch.float64)

    def forward(self, context: Context) -> Tensor:
        """(T,) ones."""
        return self.constant()
