"""Uncertainty weighting: each loss is divided by a learned variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_d2.balancing.checks import not_one_each
from mtl_d2.balancing.interfaces import Context, Setup, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.options import choice, number, several

# Factors of e^-s L and of s in the negative logarithm of each likelihood.
FACTORS = {"regression": (0.5, 0.5), "classification": (1.0, 0.5), "laplace": (1.0, 1.0)}


@WEIGHTINGS.named("uncertainty")
class Uncertainty(Weighting):
    """Learns one log variance s_i for each task, and trusts a loss the less the larger it is.

    Paper: Kendall, Gal and Cipolla, Multi-task learning using uncertainty to weigh losses for scene geometry and
    semantics, CVPR 2018, https://arxiv.org/abs/1705.07115, eq. 7 and 10, with s = log sigma^2.
        regression:      1/2 e^-s L + 1/2 s     (Gaussian, L a squared error)
        classification:      e^-s L + 1/2 s     (softmax, L a cross entropy)
        laplace:             e^-s L + s         (L an absolute error)
    The minimum over s is at e^s = L, L * 2 and L.
    Differs from: the paper by the form for regression for all tasks (``KINDS`` empty), as in the code of MTAN and of
    those who compare with it. s starts at -0.5 as in MTAN's code; others start at 0. The s of an absent task is left
    out of S; its gradient is 0.
    """

    geometric = False
    needs_losses = False
    options = {
        "kinds": several(
            "likelihood of each task of MTL.TASKS in its order, which sets the factors; empty: 'regression' for all",
            choice("regression", "", tuple(FACTORS)),
        ),
        "initial": number(-0.5, "s of all tasks before the first update (log sigma^2)"),
    }

    loss_factors: Tensor
    log_factors: Tensor

    def __init__(self, setup: Setup, kinds: Sequence[str], initial: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        factors = torch.tensor([FACTORS[kind] for kind in kinds or ["regression"] * setup.num_tasks])
        self.register_buffer("loss_factors", factors[:, 0].double(), persistent=False)
        self.register_buffer("log_factors", factors[:, 1].double(), persistent=False)
        self.s = nn.Parameter(torch.full((setup.num_tasks,), initial, dtype=torch.float64))

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """One kind for each task."""
        return not_one_each(values, "kinds", setup, f"one of {', '.join(map(repr, FACTORS))}")

    def forward(self, context: Context) -> Tensor:
        """(T,) factors of the losses, e^-s times 1/2 or 1."""
        return self.loss_factors * torch.exp(-self.s)

    def offset(self, present: Tensor) -> Tensor:
        """Sum of the s of present tasks, times 1/2 or 1."""
        return (self.log_factors * self.s)[present].sum()

    def scalars(self) -> dict[str, float]:
        """s_i."""
        return {f"log_variance_{task}": s for task, s in zip(self.tasks, self.s.tolist(), strict=True)}
