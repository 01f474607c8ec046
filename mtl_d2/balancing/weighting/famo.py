"""FAMO: fast adaptive multitask optimization."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.options import number

EPSILON = 1e-8  # added to each loss before its logarithm
BETA1, BETA2 = 0.9, 0.999  # of Adam


@WEIGHTINGS.named("famo")
class FAMO(Weighting):
    """Makes the logarithms of all losses fall at the same speed, from the losses alone.

    Paper: Liu, Feng, Stone and Liu, FAMO: fast adaptive multitask optimization, NeurIPS 2023,
    https://arxiv.org/abs/2306.03792, algorithm 1.
        z = softmax(xi),   w_i = c z_i / L_i,   c = 1 / sum_j (z_j / L_j)
        d_i = log L_i(before) - log L_i(after);   xi <- Adam(xi, (dz/dxi)^T d + gamma xi)
    The gradient of S is that of c sum_i z_i log L_i with c constant: a convex combination of the task gradients.
    Differs from: the official code, which evaluates the losses a second time, on the same batch after the step. Here
    d_i compares the losses of consecutive updates that had task i, so it costs nothing but carries the noise of the
    batches, and comes one update later. 1e-8 is added to each loss and Adam takes the steps, as in that code; tasks
    that are absent, or have no earlier loss, are left out of z and keep their xi. A loss of exactly 0 has weight 0.
    """

    geometric = False  # it is in the logarithms of the losses already
    options = {
        "lr": number(0.025, "step size of the logits xi (the paper's beta)", above=0),
        "weight_decay": number(
            1e-3, "pull of the logits towards 0 (the paper's gamma); the official scripts use 1e-5 to 1e-2", least=0
        ),
    }

    logits: Tensor
    last: Tensor
    seen: Tensor
    momentum: Tensor
    squares: Tensor
    steps: Tensor

    def __init__(self, setup: Setup, lr: float, weight_decay: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.lr = lr
        self.weight_decay = weight_decay
        for name in ("logits", "last", "momentum", "squares"):  # last: logarithm of the last loss of each task
            self.register_buffer(name, torch.zeros(setup.num_tasks, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(setup.num_tasks, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros(setup.num_tasks, dtype=torch.int64))

    def forward(self, context: Context) -> Tensor:
        """(T,) weights > 0 that add up to 1 over the present tasks, 0 for the others."""
        there = context.present & (context.losses != 0)  # a loss of 0 is at its minimum, and would take all
        logs = torch.log(context.losses.clamp(min=0) + EPSILON)
        weights = torch.zeros_like(logs)
        weights[there] = (self.logits - logs)[there].softmax(0)  # z_i / L_i, divided by its sum
        return weights

    def observe(self, result: UpdateResult) -> None:
        """One step of the logits."""
        logs = torch.log(result.losses.clamp(min=0) + EPSILON)
        known = result.present & self.seen
        if known.any():
            z = self.logits[known].softmax(0)
            decrease = (self.last - logs)[known]
            self._adam(z * (decrease - (z * decrease).sum()), known)
        self.last[result.present] = logs[result.present]
        self.seen |= result.present

    def _adam(self, gradient: Tensor, known: Tensor) -> None:
        gradient = gradient + self.weight_decay * self.logits[known]
        self.steps[known] += 1
        self.momentum[known] = BETA1 * self.momentum[known] + (1 - BETA1) * gradient
        self.squares[known] = BETA2 * self.squares[known] + (1 - BETA2) * gradient**2
        mean = self.momentum[known] / (1 - BETA1 ** self.steps[known].double())
        square = self.squares[known] / (1 - BETA2 ** self.steps[known].double())
        self.logits[known] -= self.lr * mean / (square.sqrt() + 1e-8)

    def scalars(self) -> dict[str, float]:
        """z_i."""
        return {f"z_{task}": z for task, z in zip(self.tasks, self.logits.softmax(0).tolist(), strict=True)}
