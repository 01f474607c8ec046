"""PCD: follows one task as far as the others are helped a little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.balancing.quadratic import shortest_beyond
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import Option, number

GONE = 1e-12  # a direction this much shorter than what it is made of is rounding


@AGGREGATORS.named("pcd")
class PCD(Aggregator):
    """The direction closest to the gradient of a primary task that gives each other task a share of its own progress.

    Paper: Varam and AlHajri, Not All Objectives Are Born Equal: Priority-Constrained Descent for Hierarchical
    Multi-Objective Optimization, TMLR 2026, https://arxiv.org/abs/2606.29521.
        n_i = g_i / sqrt(v_i),   v_i = running average of ||g_i||^2, with Adam's correction of its start
        d = argmin_x ||x - n_1||^2  with  n_j . x >= tau ||n_j||^2 for all j != 1;   update = ||g_1|| / ||d|| * d
    g_1 is the primary task's. As long as the others get their share anyway, it is followed alone. The update of one
    task is its gradient: scale "mean". The quadratic program is solved exactly, as a least distance problem.
    Differs from: the authors' code, which adds 1e-8 to v_i. Where no direction helps all others, they are left out, as
    there. In an update without the primary task, or without its gradient, the others' mean is followed. A primary task
    whose gradient is nearly opposite to another's loses: what is promised is the others' share.
    """

    scale = "mean"
    takes_coordinates = True
    options = {
        "primary": Option("", "the task that is followed, one of MTL.TASKS; empty: the first of them", "a task's name"),
        "tau": number(0.02, "share of its own progress that each other task gets", least=0, most=1),
        "beta": number(0.999, "share of the old value in the running averages of squared norms", least=0, below=1),
    }

    squares: Tensor
    steps: Tensor

    def __init__(self, setup: Setup, primary: str, tau: float, beta: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.primary = setup.tasks.index(primary) if primary else 0
        self.tau = tau
        self.beta = beta
        self.register_buffer("squares", torch.zeros(setup.num_tasks, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros(setup.num_tasks, dtype=torch.int64))  # updates with a gradient

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """The primary task is one."""
        primary = values["primary"]
        known = primary in ("", *setup.tasks)
        return [] if known else [f"PRIMARY must be one of MTL.TASKS {setup.tasks}, or empty, got {primary!r}"]

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 0."""
        assert context.rows is not None
        places, K = list(context.indices), len(gramian)
        self.steps[places] += 1
        self.squares[places] += (1 - self.beta) * (gramian.diagonal() * context.trace - self.squares[places])
        if self.primary not in places:
            return torch.full((K,), 1 / K, dtype=torch.float64)
        scales = (self.squares[places] / (1 - self.beta ** self.steps[places].double()) / context.trace) ** -0.5
        first = places.index(self.primary)
        rows = (scales[:, None] * context.rows).numpy()
        others = [i for i in range(K) if i != first]
        norms = np.linalg.norm(rows, axis=1)
        weights = np.eye(K)[first]
        if others:
            units = rows[others] / norms[others, None]
            missing = self.tau * norms[others] / norms[first] - units @ rows[first] / norms[first]
            weights[others] = shortest_beyond(units, missing) * norms[first] / norms[others]
        length = float(np.linalg.norm(weights @ rows))
        if length <= GONE * (weights @ norms):
            return torch.zeros(K, dtype=torch.float64)
        reached = float(context.rows[first].norm()) / length
        return torch.from_numpy(weights) * scales * reached
