"""The ordinary update: all gradients at the same point, all parameters moved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mtl_d2.balancing.base import UpdateResult
from mtl_d2.balancing.build import STEPS
from mtl_d2.balancing.jacobian import assign
from mtl_d2.balancing.strategies import Step

if TYPE_CHECKING:
    from mtl_d2.balancing.balancer import Balancer
    from mtl_d2.balancing.jacobian import Oracle


@STEPS.named("joint")
class Joint(Step):
    """theta and all heads move at once, along gradients taken at the same point.

    Differs from: nothing; this is the update of an ordinary trainer.
    """

    def forward(self, oracle: Oracle, balancer: Balancer, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Fills every ``.grad`` and applies them once."""
        replay = balancer.replay(oracle)
        if balancer.needs_rows(update, oracle.accumulate):
            found = balancer.gradients(oracle, update)
            result = balancer.weigh(found, oracle, update)
            assign(balancer.direction(found, result, oracle), oracle.shared)
            balancer.fill_heads(found.heads, oracle, result)
        else:
            result = balancer.backward_once(oracle, update)
        balancer.regularize(oracle, result, replay, heads=True)
        apply()
        return result
