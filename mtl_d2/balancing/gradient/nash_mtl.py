"""Nash-MTL: the Nash bargaining solution between the tasks."""

from __future__ import annotations

import numpy as np

from mtl_d2.balancing.bargaining import Bargain, bargain
from mtl_d2.balancing.interfaces import Context
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("nash_mtl")
class NashMTL(Bargain):
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
    update of the shared parameters, after MTL.GRADIENT.SCALE; 0 leaves any length, as in the authors' code. 1e-8 is
    added to the diagonal of the cosine matrix, so that weights stay below some 1e4 where gradients cancel: the
    direction is off by about 1e-8, but by 2e-4 for two gradients that are opposite to a hundredth of their length, by
    2 % to a thousandth, and below 1e-4 it is another one.
    """

    def solve(self, gramian: np.ndarray, context: Context) -> np.ndarray:
        """(K,) weights > 0."""
        return bargain(gramian)
