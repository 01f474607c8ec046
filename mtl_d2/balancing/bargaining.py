"""Weights that solve G w = (p / w)^(1 / alpha), and what the methods that ask for them have in common."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.options import number, whole

RIDGE = 1e-8  # on the cosine matrix: bounds the weights where gradients cancel
STEPS = 500  # of Newton's method, at most; 5 to 20 are the rule, more for weights near 0
SETTLED = 1e-3  # relative step from which on full steps halve the digits that are missing
OPTIONS = {
    "max_norm": number(1.0, "longest update of the shared parameters; 0: any length", least=0),
    "every": whole(1, "updates that weights are used for, while the same tasks are present", scales=updates),
}


class Bargain(Aggregator):
    """An aggregator whose weights are found by ``solve``, kept for some updates, and whose update has a bounded length.

    The Gramian that ``solve`` gets has a mean diagonal entry of 1, so that orthogonal gradients of one length get
    weights of 1: scale "sum".
    """

    scale = "sum"
    bounds_length = True
    takes_coordinates = True  # for the length of what is left of gradients that nearly cancel
    options = OPTIONS

    last: Tensor

    def __init__(self, setup: Setup, max_norm: float, every: int) -> None:
        """Args are those of ``OPTIONS``."""
        super().__init__(setup)
        self.max_norm = max_norm
        self.every = every
        self.register_buffer("last", torch.zeros(setup.num_tasks, dtype=torch.float64))  # 0: not in the game

    def solve(self, gramian: np.ndarray, context: Context) -> np.ndarray:
        """(K,) weights > 0 of the K tasks of ``context``, whose (K, K) Gramian has a diagonal > 0 with mean 1."""
        raise NotImplementedError

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights > 0."""
        places = list(context.indices)
        if context.update % self.every == 0 or self.last.nonzero().flatten().tolist() != places:
            self.last.zero_()
            self.last[places] = torch.from_numpy(self.solve((gramian * len(places)).numpy(), context))
        return self.last[places]


def bargain(gramian: np.ndarray, alpha: float = 1.0, share: np.ndarray | float = 1.0) -> np.ndarray:
    """(K,) w > 0 with G w = (p / w)^(1 / alpha), elementwise.

    It is the minimum of w'Gw / 2 + sum_i p_i^q phi(w_i) with phi' = -w^-q and q = 1 / alpha, which is strictly convex.
    With w = s z, where s_i would be the weight of task i alone, this is D C D z = h z^-q with D = diag(sqrt(h)),
    h_i = G_ii s_i^2 and the cosine matrix C: no number depends on the lengths of the gradients but h, by a power.

    Args:
        gramian: (K, K), diagonal > 0.
        alpha: > 0.
        share: p, (K,) > 0.
    """
    q = 1 / alpha
    diagonal = np.diagonal(gramian)
    alone = (share**q / diagonal) ** (1 / (1 + q))
    norms = np.sqrt(diagonal)
    root = norms * alone  # of h
    C = gramian / norms[:, None] / norms + RIDGE * np.eye(len(gramian))
    H = C * root[:, None] * root
    z = np.full(len(C), (root @ root / H.sum()) ** (1 / (1 + q)))  # the best of those that are all the same
    for _ in range(STEPS):
        slope = C @ (root * z) - root * z**-q
        step = np.linalg.solve(C + np.diag(q * z ** (-q - 1)), slope) / root
        change = step / z
        length = min(1.0, 0.9 / change.max()) if change.max() > 0 else 1.0  # z stays positive
        while np.abs(change).max() > SETTLED and _overshoots(C, root, z - length * step, step, q):
            length /= 2
        z = z - length * step
        if np.abs(change).max() < 1e-9:  # what is missing now is its square
            break
    return alone * z


def _overshoots(C: np.ndarray, root: np.ndarray, z: np.ndarray, step: np.ndarray, q: float) -> bool:
    """Whether what is minimised rises again at z, behind the least point along ``step``, by more than rounding."""
    with np.errstate(over="ignore"):
        slopes = np.concatenate([-(root * step) * (C @ (root * z)), root**2 * step * z**-q])
    return bool(slopes.sum() > 1e-12 * np.abs(slopes).sum())
