"""MCLGS: a curriculum over the similarity of the tasks' gradients."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from mtl_d2.balancing.counting import factor_per_update, per_update, updates
from mtl_d2.balancing.exact.rows import cosines
from mtl_d2.balancing.interfaces import Context, RowScaling, Setup
from mtl_d2.balancing.registry import ROW_SCALINGS
from mtl_d2.options import choice, number, whole

STILL, PATIENCE = 1e-3, 100  # a weight that moves nothing, and for how many updates that is borne in silence
logger = logging.getLogger(__name__)


@ROW_SCALINGS.named("mclgs")
class MCLGS(RowScaling):
    """Weighs task pairs down while their gradients disagree, less and less as training goes on.

    Paper: Igarashi, Yoneji, Ishikawa, Kawakami, Suzuki, Yashima and Sato, Multi-task curriculum learning based on
    gradient similarity (MCLGS), eq. 3-10 and algorithm 1.
        w_ij = tanh(cos_ij * p(t)) + 1                                    (eq. 5, 6)
        p(t) = max(a0 - t * da, 0)  or  a0 * ra^t                         (eq. 7, 8)
        update = 1/(T(T-1)) * sum_{i<j} w_ij (g_i + g_j)                  (eq. 4)
    The update is (1/T) sum_i alpha_i g_i with alpha_i = 1/(T-1) * sum_{j != i} w_ij: a factor for each row in front of
    the aggregator ``mean``. It holds for the heads' gradients as well. t counts optimizer updates from 0.
    Differs from: nothing where all tasks are present. An absent task is nobody's partner: alpha_i averages over the
    present partners, and is 1 for a task that is alone. A task whose gradient is zero has cosine 0 with every other.
    """

    options = {
        "a0": number(120.0, "initial pacing p(0) (the paper's a_0); 0 gives the plain mean", least=0),
        "pacing": choice("linear", "linear is eq. 7, exponential eq. 8", ("linear", "exponential")),
        "r_t": number(
            2.0,
            "linear: p reaches 0 after r_t times the whole training, so da = a0 / (r_t * SOLVER.MAX_ITER). Give this "
            "or DELTA_A and set the other to None",
            above=0,
            none=True,
        ),
        "delta_a": number(
            None, "linear: decay of p for each update (the paper's delta a)", least=0, none=True, scales=per_update
        ),
        "r_a": number(
            None,
            "exponential: factor of p for each update (the paper's r_a)",
            above=0,
            most=1,
            none=True,
            scales=factor_per_update,
        ),
        "ema": number(
            0.0,
            "beyond the paper: share of the old value in a running average of the cosines; 0 is none. A cosine of one "
            "batch is mostly noise",
            least=0,
            below=1,
        ),
        "every": whole(
            1,
            "beyond the paper: take the cosines anew every so many updates; the others cost one backward",
            scales=updates,
        ),
        "floor": number(
            0.0,
            "beyond the paper: least mean of the weights of the present tasks, which are multiplied by a common factor "
            "where it is lower; 0 is none. Without it, an update of tasks that all disagree moves nothing while p is "
            "large",
            least=0,
            most=1,
        ),
    }

    cosine: Tensor
    known: Tensor

    def __init__(
        self,
        setup: Setup,
        a0: float,
        pacing: str,
        r_t: float | None,
        delta_a: float | None,
        r_a: float | None,
        ema: float = 0.0,
        every: int = 1,
        floor: float = 0.0,
    ) -> None:
        """Args are those of ``options``; ``check`` says which go together."""
        super().__init__(setup)
        self.a0 = a0
        self.delta_a = self.r_a = 0.0
        self.ema = ema
        self.every = every
        self.floor = floor
        T = setup.num_tasks
        self.register_buffer("cosine", torch.zeros(T, T, dtype=torch.float64))
        self.register_buffer("known", torch.zeros(T, T, dtype=torch.bool))  # pairs that have met
        self._pacing = a0
        self._still = 0  # updates in a row in which no task had a weight worth mentioning
        self.exponential = pacing == "exponential"
        if r_a is not None:
            self.r_a = r_a
        if delta_a is not None:
            self.delta_a = delta_a
        elif r_t is not None:
            self.delta_a = a0 / (r_t * setup.total_updates)

    @classmethod
    def is_neutral(cls, values: Mapping[str, Any]) -> bool:
        """With a0 = 0 all weights are 1."""
        return values["a0"] == 0

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """What each pacing needs."""
        r_t, delta_a = values["r_t"], values["delta_a"]
        if values["pacing"] == "exponential":
            return ["exponential pacing needs R_A in (0, 1], got None"] if values["r_a"] is None else []
        if (r_t is None) == (delta_a is None):
            given = f"R_T {r_t} and DELTA_A {delta_a}"
            return [f"linear pacing needs exactly one of R_T and DELTA_A, the other None; got {given}"]
        return []

    def pacing(self, update: int) -> float:
        """p(t) >= 0 for t = ``update``."""
        if self.exponential:
            return self.a0 * self.r_a**update
        return max(self.a0 - update * self.delta_a, 0.0)

    def needs_rows(self, update: int) -> bool:
        """Whether the cosines are taken in this update."""
        return update % self.every == 0

    def forward(self, gramian: Tensor | None, context: Context) -> Tensor:
        """(T,) alpha_i >= 0; at most 2 without ``floor``."""
        present = context.present
        pairs = (present[:, None] & present).fill_diagonal_(False)
        if gramian is not None:
            self._take(cosines(gramian), pairs)
        self._pacing = self.pacing(context.update)
        w = (torch.tanh(self.cosine * self._pacing) + 1).tolist()
        here = present.tolist()
        of_partners = [[w[i][j] for j in range(len(w)) if here[i] and here[j] and i != j] for i in range(len(w))]
        alpha = self._raise([sum(weights) / len(weights) if weights else 1.0 for weights in of_partners], here)
        self._watch(max(compress(alpha, here), default=1.0))
        return torch.tensor(alpha, dtype=torch.float64)

    def _raise(self, alpha: list[float], here: list[bool]) -> list[float]:
        """``alpha`` with a mean over the tasks that are ``here`` not below ``floor``, in the same proportions."""
        mean = sum(compress(alpha, here)) / sum(here) if any(here) else 1.0
        if mean >= self.floor:
            return alpha
        return [a * self.floor / mean if mean > 0 else self.floor for a in alpha]

    def _take(self, cosine: Tensor, pairs: Tensor) -> None:
        """Running averages over the updates in which a pair met; the latest value alone with ``ema`` 0."""
        if self.ema:
            cosine = torch.where(self.known, self.ema * self.cosine + (1 - self.ema) * cosine, cosine)
        self.cosine.copy_(torch.where(pairs, cosine, self.cosine))
        self.known |= pairs

    def _watch(self, largest: float) -> None:
        self._still = self._still + 1 if largest < STILL else 0
        if self._still == PATIENCE:
            logger.warning(
                "MCLGS has given every task a weight below %g for %d updates: the cosines stay negative while the "
                "pacing is %.3g, so that nothing moves. Lower MTL.GRADIENT.MCLGS.A0, let it decay faster (R_T), or "
                "set a FLOOR",
                STILL,
                PATIENCE,
                self._pacing,
            )

    def scalars(self) -> dict[str, float]:
        """p(t)."""
        return {"pacing": self._pacing}
