"""MCLGS: a curriculum over the similarity of the tasks' gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_d2.balancing.base import Context, RowScaling, Setup, cosines
from mtl_d2.balancing.build import ROW_SCALINGS


@ROW_SCALINGS.named("mclgs")
class MCLGS(RowScaling):
    """Weighs task pairs down while their gradients disagree, less and less as training goes on.

    Paper: multi-task curriculum learning based on gradient similarity (MCLGS), eq. 3-10 and algorithm 1.
        w_ij = tanh(cos_ij * p(t)) + 1                                    (eq. 5, 6)
        p(t) = max(a0 - t * da, 0)  or  a0 * ra^t                         (eq. 7, 8)
        update = 1/(T(T-1)) * sum_{i<j} w_ij (g_i + g_j)                  (eq. 4)
    The update is (1/T) sum_i alpha_i g_i with alpha_i = 1/(T-1) * sum_{j != i} w_ij: a factor for each row in front of
    the aggregator ``mean``. It holds for the heads' gradients as well. t counts optimizer updates from 0.
    Differs from: nothing where all tasks are present. An absent task is nobody's partner: alpha_i averages over the
    present partners, and is 1 for a task that is alone. A task whose gradient is zero has cosine 0 with every other.
    """

    defaults = {"a0": 120.0, "pacing": "linear", "r_t": 2.0, "delta_a": None, "r_a": None}
    help = {
        "a0": "initial pacing p(0) >= 0 (the paper's a_0); 0 gives the plain mean",
        "pacing": "'linear' (eq. 7) or 'exponential' (eq. 8)",
        "r_t": "linear: p reaches 0 after r_t times the whole training, so da = a0 / (r_t * SOLVER.MAX_ITER); > 0. "
        "Give this or DELTA_A and set the other to None",
        "delta_a": "linear: decay of p for each update (the paper's delta a), >= 0, or None",
        "r_a": "exponential: factor of p for each update (the paper's r_a), in (0, 1]",
    }

    def __init__(
        self, setup: Setup, a0: float, pacing: str, r_t: float | None, delta_a: float | None, r_a: float | None
    ) -> None:
        """Args are those of ``help``; ``check`` says which go together."""
        super().__init__(setup)
        self.a0 = a0
        self.delta_a = self.r_a = 0.0
        self._pacing = a0
        self.exponential = pacing == "exponential"
        if r_a is not None:
            self.r_a = r_a
        if delta_a is not None:
            self.delta_a = delta_a
        elif r_t is not None:
            self.delta_a = a0 / (r_t * setup.total_updates)

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """Which options go together, and their ranges."""
        found = []
        if not _in_range(options["a0"], 0, math.inf):
            found.append(f"A0 must be a number >= 0, got {options['a0']}")
        if options["pacing"] not in ("linear", "exponential"):
            found.append(f"PACING must be 'linear' or 'exponential', got {options['pacing']!r}")
        if options["pacing"] == "exponential" and not _in_range(options["r_a"], 1e-300, 1):
            found.append(f"R_A must be a number in (0, 1] for exponential pacing, got {options['r_a']}")
        if options["pacing"] == "linear":
            if (options["r_t"] is None) == (options["delta_a"] is None):
                found.append(
                    "linear pacing needs exactly one of R_T and DELTA_A, the other None; "
                    f"got R_T {options['r_t']} and DELTA_A {options['delta_a']}"
                )
            if options["r_t"] is not None and not _in_range(options["r_t"], 1e-300, math.inf):
                found.append(f"R_T must be a number > 0, got {options['r_t']}")
            if options["delta_a"] is not None and not _in_range(options["delta_a"], 0, math.inf):
                found.append(f"DELTA_A must be a number >= 0, got {options['delta_a']}")
        return found

    def pacing(self, update: int) -> float:
        """p(t) >= 0 for t = ``update``."""
        if self.exponential:
            return self.a0 * self.r_a**update
        return max(self.a0 - update * self.delta_a, 0.0)

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(T,) alpha_i in [0, 2]."""
        present = context.present
        self._pacing = self.pacing(context.update)
        w = torch.tanh(cosines(gramian) * self._pacing) + 1
        pairs = present[:, None] & present & ~torch.eye(len(present), dtype=torch.bool)
        partners = pairs.sum(1)
        mean = (w * pairs).sum(1) / partners.clamp(min=1)
        return torch.where(partners > 0, mean, torch.ones_like(mean))

    def scalars(self) -> dict[str, float]:
        """p(t)."""
        return {"pacing": self._pacing}


def _in_range(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and value != math.inf
