"""Pareto MTL: a trade-off between the tasks chosen by a preference vector."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.exact.coordinates import RANK
from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.balancing.quadratic import min_norm_point
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import number, several, whole


@AGGREGATORS.named("pareto")
class ParetoMTL(Aggregator):
    """Descends to a Pareto point whose vector of losses is closest to one of several preference vectors.

    Paper: Lin, Zhen, Li, Zhang and Kwong, Pareto Multi-Task Learning, NeurIPS 2019, https://arxiv.org/abs/1912.12854,
    eq. 8 to 14 and algorithm 1.
        unit vectors u_1, ..., u_n >= 0; this run follows u_k. Constraint j is active if (u_j - u_k) . L > 0; its
        gradient is sum_t (u_j - u_k)_t g_t.
        first phase, until no constraint is active: the shortest vector in the hull of the active ones' gradients
        second phase: the shortest vector in the hull of the g_t and the active ones' gradients
        w_t = the vector's coefficient of g_t, then w <- T w / sum_t |w_t|;  update = sum_t w_t g_t
    With A = the rows of the identity, then of u_j - u_k, the hull's Gramian is A G A'. Scale "sum".
    Differs from: the paper's code, which is written for T = 2, stops solving early, and leaves w as it is in the first
    phase. Constraints whose gradient is 0 are left out. The L_t are the raw losses, the g_t those of the weighted ones.
    Of absent tasks, the entries of the u_j are left out; a task that is alone gets weight 1.
    """

    scale = "sum"
    takes_coordinates = True
    options = {
        "preferences": several(
            "the u_j one after the other, T numbers each, of any length > 0; a larger entry accepts a larger loss of "
            "that task; empty: COUNT evenly spread ones",
            number(0.0, "", least=0),
        ),
        "count": whole(
            5,
            "number of u_j: for 2 tasks on the quarter circle, from the first axis to the second; for T tasks the "
            "directions of the coarsest lattice of the simplex with as many points or more",
            least=2,
        ),
        "index": whole(None, "k, which u_j this run follows; None: the one closest to (1, ..., 1)", least=0, none=True),
        "init_updates": whole(
            None,
            "longest first phase in updates (the paper's is 2 of 100 epochs); None: 2 % of all",
            least=0,
            none=True,
            scales=updates,
        ),
    }

    preferences: Tensor
    feasible: Tensor

    def __init__(
        self, setup: Setup, preferences: Sequence[float], count: int, index: int | None, init_updates: int | None
    ) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        u = spread(setup.num_tasks, count)
        if preferences:
            u = torch.tensor(preferences, dtype=torch.float64).reshape(-1, setup.num_tasks)
            u = u / u.norm(dim=1, keepdim=True)
        chosen = int(u.sum(1).argmax()) if index is None else index
        self.register_buffer("preferences", u - u[chosen], persistent=False)  # (n, T), of the config
        self.register_buffer("feasible", torch.zeros((), dtype=torch.bool))
        self.init_updates = math.ceil(0.02 * setup.total_updates) if init_updates is None else init_updates

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """Whole preference vectors, and one of them."""
        given, index, T = values["preferences"], values["index"], setup.num_tasks
        if not cls.options["preferences"].accepts(given):
            return []
        vectors = [given[i : i + T] for i in range(0, len(given), T)]
        if any(len(v) != T or max(v) <= 0 for v in vectors):
            return [f"PREFERENCES needs {T} numbers >= 0, not all 0, for each vector, got {given}"]
        count = len(vectors) or len(spread(T, values["count"]))
        if index is not None and index >= count:
            return [f"INDEX must be None or one of the {count} preference vectors from 0, got {index}"]
        return []

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights with sum of absolute values K; some may be negative."""
        identity = torch.eye(len(gramian), dtype=torch.float64)
        if len(identity) == 1:
            return identity[0]
        constraints = self.preferences[:, list(context.indices)]
        constraints = constraints[constraints @ context.losses > 0]
        if context.update >= self.init_updates or len(constraints) == 0:
            self.feasible.fill_(True)
        A = torch.cat([identity, constraints]) if self.feasible else constraints
        assert context.rows is not None
        hull = A @ context.rows
        moving = hull.norm(dim=1) > RANK
        if not moving.any():
            return torch.zeros(len(identity), dtype=torch.float64)
        weights = min_norm_point(hull[moving]) @ A[moving]
        return len(identity) * weights / weights.abs().sum().clamp(min=1e-300)


def spread(num_tasks: int, count: int) -> Tensor:
    """(n, T) unit vectors >= 0 spread over all directions; see ``count``."""
    if num_tasks == 2:
        angles = torch.linspace(0, math.pi / 2, count, dtype=torch.float64)
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    parts = next(h for h in itertools.count(1) if num_tasks == 1 or math.comb(h + num_tasks - 1, h) >= count)
    bars = itertools.combinations(range(parts + num_tasks - 1), num_tasks - 1)
    points = [[b - a - 1 for a, b in itertools.pairwise((-1, *bar, parts + num_tasks - 1))] for bar in bars]
    lattice = torch.tensor(points, dtype=torch.float64)
    return lattice / lattice.norm(dim=1, keepdim=True)
