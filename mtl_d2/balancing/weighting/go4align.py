"""GO4Align: weights by group, of tasks that stand alike."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.counting import per_update
from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import require_not_negative
from mtl_d2.options import number, whole


@WEIGHTINGS.named("go4align")
class GO4Align(Weighting):
    """Scales all losses alike, favours tasks with a small risk, and gives each group of like tasks one weight.

    Paper: Shen, Wang, Xiao, van Noord and Worring, GO4Align: Group Optimization for Multi-Task Alignment, NeurIPS 2024,
    https://arxiv.org/abs/2404.06486, sec. 3.
        p_i <- p_i e^(-step L_i), divided by the sum of all;   r_i = p_i sum_j L_j / L_i
        w_i = mean of r over the group of i, by k-means of the T numbers r_i into ``GROUPS``
    The groups are of the least sum of squares there is: in one dimension they are neighbours in order. p starts at 1/T,
    so that with one group and equal losses all weights are 1.
    Differs from: the authors' code, whose k-means starts at random and may end elsewhere; with as many groups as tasks
    w = r. Sums, p and groups are over the present tasks; the p of an absent one does not fall meanwhile. A loss of 0
    has weight 0.
    """

    geometric = False  # L_i is divided out of it already
    options = {
        "groups": whole(2, "groups of tasks (the paper's K), at most as many as tasks"),
        "step": number(1e-4, "how fast p follows the losses (the code's robust step size)", least=0, scales=per_update),
    }

    logits: Tensor

    def __init__(self, setup: Setup, groups: int, step: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.groups = groups
        self.step = step
        self.register_buffer("logits", torch.zeros(setup.num_tasks, dtype=torch.float64))  # log p_i

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """No more groups than tasks."""
        groups, T = values["groups"], setup.num_tasks
        return [f"GROUPS must be at most the number of tasks {T}, got {groups}"] if groups > max(T, 2) else []

    def forward(self, context: Context) -> Tensor:
        """(T,) weights >= 0, 0 for absent tasks.

        Raises:
            ValueError: a loss is < 0.
        """
        require_not_negative(context.losses[context.present], context, "MTL.SCALARIZATION.NAME 'go4align'")
        there = context.present & (context.losses != 0)  # NaN counts, to be found
        losses = context.losses[there]
        weights = torch.zeros_like(context.losses)
        p = self._moved(context.losses, context.present)[there].softmax(0)
        weights[there] = group_means(p * losses.sum() / losses, self.groups)
        return weights

    def _moved(self, losses: Tensor, present: Tensor) -> Tensor:
        return self.logits - self.step * losses * present

    def observe(self, result: UpdateResult) -> None:
        """Moves p."""
        moved = self._moved(result.losses, result.present)
        self.logits.copy_(moved - moved.logsumexp(0))

    def scalars(self) -> dict[str, float]:
        """p_i."""
        return {f"p_{task}": p for task, p in zip(self.tasks, self.logits.softmax(0).tolist(), strict=True)}


def group_means(values: Tensor, groups: int) -> Tensor:
    """(K,) the mean of each value's group, of ``groups`` groups with the least sum of squared distances to their means.

    Args:
        values: (K,) float64.
        groups: >= 1; each value is one of its own where there are as many.
    """
    if groups >= len(values):
        return values
    ordered, order = values.sort()
    best, found = torch.inf, ordered
    for cuts in itertools.combinations(range(1, len(ordered)), groups - 1):
        parts = ordered.tensor_split(cuts)
        means = torch.cat([part.mean().expand(len(part)) for part in parts])
        distance = float(((ordered - means) ** 2).sum())
        if distance < best:
            best, found = distance, means
    return torch.empty_like(values).scatter(0, order, found)
