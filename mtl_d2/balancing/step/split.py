"""The shared parameters move first, the heads afterwards at the new shared parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mtl_d2.balancing.base import UpdateResult
from mtl_d2.balancing.build import STEPS
from mtl_d2.balancing.jacobian import TaskGradients, assign
from mtl_d2.balancing.replay import Replay
from mtl_d2.balancing.strategies import Step

if TYPE_CHECKING:
    from mtl_d2.balancing.balancer import Balancer
    from mtl_d2.balancing.jacobian import Oracle


@STEPS.named("split")
class Split(Step):
    """theta moves along the combined gradient, then each head along its own at the new theta.

    Paper: single gradient step update, "Split-only" (eq. 3 without the inner step).
        theta <- theta - beta * combined(grad_theta L_i(theta, phi_i))
        phi_i <- phi_i - alpha * grad_phi L_i(theta_new, phi_i)
    Differs from: the paper in that any aggregator may combine, and that c_i and the heads' weights are those of the
    shared move. Batch, random draws and buffers of the second pass are those of the first.
    """

    moves = 2

    def forward(self, oracle: Oracle, balancer: Balancer, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Two moves: shared parameters, then heads."""
        replay = Replay(oracle.model)
        found = self._gradients(oracle, balancer, update, replay)
        result = balancer.weigh(found, oracle, update)
        assign(balancer.direction(found, result, oracle), oracle.shared)
        balancer.regularize(oracle, result, replay, heads=False)
        apply()
        for parameter in balancer.scalarization.parameters():
            parameter.grad = None  # has moved
        with replay.again():
            new = oracle.gradients(trunk="no")
        balancer.fill_heads(new.heads, oracle, result)
        apply()
        return result

    def _gradients(self, oracle: Oracle, balancer: Balancer, update: int, replay: Replay) -> TaskGradients:
        return balancer.gradients(oracle, update)
