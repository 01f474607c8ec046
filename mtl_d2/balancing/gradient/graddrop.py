"""GradDrop: in every element, the gradients of one sign only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.checks import not_one_each
from mtl_d2.balancing.interfaces import Aggregator, Context, Gradients, Setup
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import number, several


@AGGREGATORS.named("graddrop")
class GradDrop(Aggregator):
    """Draws a sign for every element of the gradient and drops the tasks' values of the other sign.

    Paper: Chen, Ngiam, Huang, Luong, Kretzschmar, Chai and Anguelov, Just Pick a Sign: Optimizing Deep Multitask Models
    with Gradient Sign Dropout, NeurIPS 2020, https://arxiv.org/abs/2010.06808, algorithm 1, lines 10 to 15.
        P = (1 + sum_i g_i / sum_i |g_i|) / 2,  U uniform in [0, 1), the same for all tasks, per element
        update = sum_i (l_i + (1 - l_i) [P > U and g_i > 0, or P <= U and g_i < 0]) g_i
    Without conflict the weights are 1: scale "sum".
    Differs from: the paper applies it to the gradient of the shared features; this is the usual form on the shared
    parameters, where the sign of the feature plays no part. Some code multiplies the mean by T, which is the same. U is
    drawn on the CPU, so that it is the same on every process: its cost grows with the number of shared parameters.
    """

    scale = "sum"
    elementwise = True
    options = {
        "leak": several(
            "l_i, the share of its gradient each task of MTL.TASKS keeps; empty: all 0",
            number(0.0, "", least=0, most=1),
        )
    }

    def __init__(self, setup: Setup, leak: Sequence[float]) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.leak = tuple(leak) or (0.0,) * setup.num_tasks

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """One leak for each task."""
        return not_one_each(values, "leak", setup, "one number")

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) ones: what is dropped differs from element to element."""
        return torch.ones(len(gramian), dtype=torch.float64)

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """Algorithm 1 on the weighted rows; see ``Aggregator.combine``."""
        combined: Gradients = []
        for k in range(len(rows[0])):
            gradients: list[tuple[Tensor, float]] = []
            for row, weight, leak in zip(rows, weights, self.leak, strict=True):
                gradient, row[k] = row[k], None
                if gradient is not None:
                    gradients.append((gradient if weight == 1 else gradient * weight, leak))
            combined.append(_pick_signs(gradients, context.generator) if gradients else None)
        return combined


def _pick_signs(gradients: list[tuple[Tensor, float]], generator: torch.Generator) -> Tensor:
    """Lines 10 to 15 for one parameter: its gradients, of one shape, each with its leak.

    With p and n the sums of the positive and of the negative values, P = p / (p - n): P > U where p > U (p - n).
    """
    first = gradients[0][0]
    positive, negative = _sum_by_sign([gradient for gradient, _ in gradients])
    draw = torch.rand(first.shape, generator=generator, dtype=first.dtype).to(first.device)
    chosen = positive > draw.mul_(positive - negative)
    if not any(leak for _, leak in gradients):
        return torch.where(chosen, positive, negative)
    update = torch.where(chosen, *_sum_by_sign([gradient * (1 - leak) for gradient, leak in gradients]))
    for gradient, leak in gradients:
        update.add_(gradient, alpha=leak)
    return update


def _sum_by_sign(gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The sum of the positive values in each element, and that of the negative ones."""
    positive, negative = gradients[0].clamp(min=0), gradients[0].clamp(max=0)
    for gradient in gradients[1:]:
        positive += gradient.clamp(min=0)
        negative += gradient.clamp(max=0)
    return positive, negative
