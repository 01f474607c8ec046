"""LDC-MTL: weights that keep the weighted losses close to each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.options import number

TIE = 1e-9  # a difference that is a smaller share of the largest term is rounding, as in the first update all are


@WEIGHTINGS.named("ldc")
class LDC(Weighting):
    """Learns weights under which the losses, divided by what they were at first, differ little.

    Paper: Xiao, Dong, Zou and Ji, LDC-MTL: Balancing Multi-Task Learning through Scalable Loss Discrepancy Control,
    2025, https://arxiv.org/abs/2502.08585, in the form of the authors' code, https://github.com/OptMN-Lab/LDC-MTL.
        S = sum_i s_i l_i + lambda sum_i |s_i l_i - s_{i+1} l_{i+1}|
        l_i = L_i min_j L_j(0) / L_i(0),   s = softmax(xi)
    xi is trained on dS/dxi with the network; L_i(0) is the first loss > 0 that task i has.
    Differs from: the code, where s comes of a small network on the shared features; here xi are T numbers, so that s is
    the same for all images. Sums are over the present tasks in the order of MTL.TASKS, and s over them.
    """

    geometric = False
    options = {
        "weight": number(0.05, "lambda; the authors' scripts have 0.05 on NYUv2", least=0, most=0.5),
    }

    first_losses: Tensor

    def __init__(self, setup: Setup, weight: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.weight = weight
        self.xi = nn.Parameter(torch.zeros(setup.num_tasks, dtype=torch.float64))
        self.register_buffer("first_losses", torch.zeros(setup.num_tasks, dtype=torch.float64))  # 0: none so far

    def forward(self, context: Context) -> Tensor:
        """(T,) weights w_i >= 0 with sum_i w_i L_i = S; they carry the graph of xi."""
        present = context.present
        if not present.any():
            return self.xi * 0
        first = torch.where(self.first_losses > 0, self.first_losses, context.losses)
        known = first > 0  # of absent tasks, too: a task's weight is not to jump where another is absent
        scales = torch.where(known, first[known].min() / first if known.any() else 1.0, 1.0)
        s = self.xi[present].softmax(0) * scales[present]
        with torch.no_grad():
            terms = s * context.losses[present]
            differences = terms[:-1] - terms[1:]
            signs = differences.sign() * (differences.abs() > TIE * terms.max())
            pull = torch.zeros_like(terms)
            pull[:-1] += signs
            pull[1:] -= signs
        weights = torch.zeros_like(context.losses)
        weights[present] = s * (1 + self.weight * pull)
        return weights

    def observe(self, result: UpdateResult) -> None:
        """Takes the first losses."""
        first_seen = result.present & (self.first_losses == 0) & (result.losses > 0)
        self.first_losses[first_seen] = result.losses[first_seen]

    def scalars(self) -> dict[str, float]:
        """s_i."""
        return {f"s_{task}": s for task, s in zip(self.tasks, self.xi.detach().softmax(0).tolist(), strict=True)}
