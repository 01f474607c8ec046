"""The ordinary update: all gradients at the same point, all parameters moved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mtl_d2.balancing.base import Step, UpdateResult
from mtl_d2.balancing.build import STEPS
from mtl_d2.balancing.jacobian import assign

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
        if not balancer.needs_rows:
            result = balancer.backward_once(oracle, update)
            apply()
            return result
        found = oracle.gradients()
        result = balancer.weigh(found, oracle, update)
        assign(balancer.direction(found, result), oracle.shared)
        balancer.fill_heads(found.heads, oracle, result)
        apply()
        return result
