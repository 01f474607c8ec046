"""UW-SO: softmax of the inverse losses."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, Setup, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import require_not_negative
from mtl_d2.options import number

LEAST = 1e-100  # a loss counts as no smaller, so that its inverse is a number


@WEIGHTINGS.named("uwso")
class UWSO(Weighting):
    """Gives more weight to a task the smaller its loss: what uncertainty weighting would settle at, tempered.

    Paper: Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott and Koehler, Analytical Uncertainty-Based Loss Weighting
    in Multi-Task Learning, GCPR 2024, https://arxiv.org/abs/2408.07985.
        w_i = softmax_i((1 / L_i) / temperature)
    over the tasks that are present: the weights that minimise uncertainty weighting's objective are 1 / L_i. They add
    up to 1, so that the loss at a given learning rate is as small as a mean.
    Differs from: nothing; a loss of exactly 0 is left out, as if its task were absent. The paper chooses the
    temperature on held-out images, for each data set.
    """

    geometric = False  # exponents of a mean that depended on the losses' scales
    options = {
        "temperature": number(1.0, "the larger, the more equal the weights (the paper's T), to be tuned", above=0)
    }

    def __init__(self, setup: Setup, temperature: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.temperature = temperature

    def forward(self, context: Context) -> Tensor:
        """(T,) weights >= 0 that add up to 1 over the present tasks, 0 for the others.

        Raises:
            ValueError: a loss is < 0.
        """
        require_not_negative(context.losses[context.present], context, "MTL.SCALARIZATION.NAME 'uwso'")
        there = context.present & (context.losses != 0)  # NaN counts, to be found
        weights = torch.zeros_like(context.losses)
        if there.any():
            inverse = 1 / context.losses[there].clamp(min=LEAST)
            weights[there] = ((inverse - inverse.max()) / self.temperature).softmax(0)
        return weights
