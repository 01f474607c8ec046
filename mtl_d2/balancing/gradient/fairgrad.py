"""FairGrad: alpha-fair shares of the improvement."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtl_d2.balancing.bargaining import OPTIONS, Bargain, bargain
from mtl_d2.balancing.interfaces import Context, Setup
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import number


@AGGREGATORS.named("fairgrad")
class FairGrad(Bargain):
    """The direction whose improvements of the tasks are shared alpha-fairly.

    Paper: Ban and Ji, Fair Resource Allocation in Multi-Task Learning, ICML 2024, https://arxiv.org/abs/2402.15638,
    eq. 4 and algorithm 1.
        G w = w^(-1 / alpha)  (elementwise, w > 0);  update = sum_i w_i g_i, made shorter if it is longer than max_norm
    alpha = 1 is Nash-MTL's proportional fairness, a large one lets the task count most that improves least. w is the
    minimum of a strictly convex function, found by damped Newton steps. It is scaled so that orthogonal gradients of
    one length get 1: scale "sum".
    Differs from: the authors' code, which solves by scipy's least_squares for the Gramian as it is (here divided by its
    mean diagonal entry: a factor of the update that vanishes where max_norm is reached) and multiplies the update by T
    before it is cut. max_norm, ``every`` and the 1e-8 on the diagonal of the cosine matrix are as in ``nash_mtl``.
    """

    options = {
        "alpha": number(2.0, "fairness; 1 is Nash-MTL, the authors' scripts have 2", least=0.05, most=10),
        **OPTIONS,
    }

    def __init__(self, setup: Setup, alpha: float, **bounds: Any) -> None:
        """Args are those of ``options``."""
        super().__init__(setup, **bounds)
        self.alpha = alpha

    def solve(self, gramian: np.ndarray, context: Context) -> np.ndarray:
        """(K,) weights > 0."""
        return bargain(gramian, self.alpha)
