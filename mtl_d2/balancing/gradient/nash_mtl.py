"""Nash-MTL: the Nash bargaining solution between the tasks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.exact.rows import combine, cosines
from mtl_d2.balancing.interfaces import Aggregator, Context, Gradients, Setup
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import number, whole

RIDGE = 1e-8  # on the cosine matrix: bounds the weights at about 1e4 where gradients cancel


@AGGREGATORS.named("nash_mtl")
class NashMTL(Aggregator):
    """The direction that maximises the product of the tasks' improvements.

    Paper: Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik and Fetaya, Multi-Task Learning as a Bargaining Game,
    ICML 2022, https://arxiv.org/abs/2202.01017, claim 3.1 and algorithm 1.
        G a = 1 / a  (elementwise, a > 0);  update = sum_i a_i g_i, made shorter if it is longer than max_norm
    a is the minimum of the strictly convex a'Ga / 2 - sum_i log a_i, found by damped Newton steps. It is scaled so that
    orthogonal gradients of one length get 1: scale "sum". The direction does not depend on the lengths of the g_i.
    Differs from: the authors' code, whose 20 rounds of a convex-concave procedure stop at about 1e-3, divides G by its
    Frobenius norm (here by its mean diagonal entry, a factor that vanishes where max_norm is reached), counts its own
    calls for ``every`` (here updates), keeps weights when tasks come and go (here they are recomputed) and multiplies
    the heads by a as well (MTL.GRADIENT.HEADS "weights"; max_norm does not act on those). max_norm is that of the
    update, after MTL.GRADIENT.SCALE, and the logged weights are those before it; 0 leaves any
    length, as in the authors' code. 1e-8 is added to the diagonal of the cosine matrix, so that weights stay below some
    1e4 where gradients cancel: the direction is off by about 1e-8, but by 2e-4 for two gradients that are opposite to a
    hundredth of their length, by 2 % to a thousandth, and below 1e-4 it is another one.
    """

    scale = "sum"
    elementwise = True  # its bound is on the length of the update, which takes the rows
    options = {
        "max_norm": number(1.0, "longest update of the shared parameters; 0: any length", least=0),
        "every": whole(1, "updates that weights are used for, while the same tasks are present", scales=updates),
    }

    last: Tensor

    def __init__(self, setup: Setup, max_norm: float, every: int) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.max_norm = max_norm
        self.every = every
        self.register_buffer("last", torch.zeros(setup.num_tasks, dtype=torch.float64))  # 0: not in the game

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights > 0."""
        places = list(context.indices)
        if context.update % self.every == 0 or self.last.nonzero().flatten().tolist() != places:
            C = cosines(gramian).numpy() + RIDGE * np.eye(len(places))
            self.last.zero_()
            self.last[places] = torch.from_numpy(bargain(C)) / (gramian.diagonal() * len(places)).sqrt()
        return self.last[places]

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """The weighted sum, not longer than ``max_norm``; see ``Aggregator.combine``."""
        direction = combine(rows, weights)
        parts = [g for g in direction if g is not None]
        if self.max_norm > 0 and parts:
            norm = torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64) for g in parts]).norm().item()
            for g in parts if norm > self.max_norm else []:
                g.mul_(self.max_norm / norm)
        return direction


def bargain(C: np.ndarray) -> np.ndarray:
    """(K,) z > 0 with C z = 1 / z.

    Args:
        C: (K, K) positive definite, diagonal 1.
    """
    z = np.full(len(C), np.sqrt(len(C) / C.sum()))
    for _ in range(200):
        slope = C @ z - 1 / z
        step = np.linalg.solve(C + np.diag(1 / z**2), slope)
        decrement = np.sqrt(max(slope @ step, 0.0))
        if decrement < 1e-14:
            break
        # Self-concordance: this length keeps z > 0 and lowers the objective.
        z = z - step / (1 + decrement if decrement > 0.25 else 1)
    return z
