"""Fixed weights: S = sum_i w_i L_i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.checks import not_one_each
from mtl_d2.balancing.interfaces import Context, Setup, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.options import number, several


@WEIGHTINGS.named("fixed")
class Fixed(Weighting):
    """A weighted sum of the task losses: S = sum_i w_i L_i over the present tasks.

    Differs from: nothing; with all w_i = 1 (the default) it is the sum that detectron2 takes. The 1/T of a mean belongs
    to the aggregator.
    """

    needs_losses = False
    options = {
        "weights": several("w_i, one for each task of MTL.TASKS in its order; empty: all 1", number(1.0, "", least=0))
    }

    weights: Tensor

    def __init__(self, setup: Setup, weights: Sequence[float]) -> None:
        """Args: ``weights``: T factors >= 0, or none for all 1."""
        super().__init__(setup)
        self.register_buffer("weights", torch.tensor(weights or [1.0] * setup.num_tasks, dtype=torch.float64))

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """One weight for each task."""
        return not_one_each(values, "weights", setup, "one number")

    @classmethod
    def is_neutral(cls, values: Mapping[str, Any]) -> bool:
        """With all weights 1."""
        return all(weight == 1 for weight in values["weights"])

    def constant(self) -> Tensor:
        """The weights."""
        return self.weights

    def forward(self, context: Context) -> Tensor:
        """The weights."""
        return self.weights
