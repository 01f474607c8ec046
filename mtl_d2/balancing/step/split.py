"""The shared parameters move first, the heads afterwards at the new shared parameters."""

from __future__ import annotations

from mtl_d2.balancing.interfaces import Step
from mtl_d2.balancing.registry import STEPS


@STEPS.named("split")
class Split(Step):
    """The shared parameters theta move along the combined gradient, then head phi_i along its own at the new theta.

    Paper: Lee and Son, Multitask learning with single gradient step update for task balancing, Neurocomputing 2022,
    https://arxiv.org/abs/2005.09910, "Split-only" (eq. 3 without the inner step).
        theta <- theta - beta * combined(grad_theta L_i(theta, phi_i))
        phi_i <- phi_i - alpha * grad_phi L_i(theta_new, phi_i)
    Differs from: the paper in that any aggregator may combine, and that c_i and the heads' weights are those of the
    shared move. Batch, random draws and buffers of the second pass are those of the first.
    """

    moves = 2
