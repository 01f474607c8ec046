"""Fixed weights: S = sum_i w_i L_i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.base import Context, Setup
from mtl_d2.balancing.build import WEIGHTINGS
from mtl_d2.balancing.strategies import Weighting


@WEIGHTINGS.named("fixed")
class Fixed(Weighting):
    """A weighted sum of the task losses: S = sum_i w_i L_i over the present tasks.

    Differs from: nothing; with all w_i = 1 (the default) it is the sum that detectron2 takes. The 1/T of a mean belongs
    to the aggregator.
    """

    needs_losses = False
    defaults = {"weights": ()}
    help = {"weights": "w_i >= 0, one for each task of MTL.TASKS in its order; empty: all 1"}

    weights: Tensor

    def __init__(self, setup: Setup, weights: Sequence[float]) -> None:
        """Args: ``weights``: T factors >= 0, or none for all 1."""
        super().__init__(setup)
        self.register_buffer("weights", torch.tensor(weights or [1.0] * setup.num_tasks, dtype=torch.float64))

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """Length and sign of the weights."""
        weights = options["weights"]
        assert isinstance(weights, Sequence)
        if weights and len(weights) != setup.num_tasks:
            return [f"WEIGHTS needs one number for each of the {setup.num_tasks} tasks {setup.tasks}, got {weights}"]
        if any(w < 0 for w in weights):
            return [f"WEIGHTS must not be negative, got {weights}"]
        return []

    @classmethod
    def is_neutral(cls, options: Mapping[str, Any]) -> bool:
        """With all weights 1."""
        return all(weight == 1 for weight in options["weights"])

    def forward(self, context: Context) -> Tensor:
        """The weights."""
        return self.weights
