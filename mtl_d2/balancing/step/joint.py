"""The ordinary update: all gradients at the same point, all parameters moved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mtl_d2.balancing.base import Strategy, UpdateResult
from mtl_d2.balancing.build import STEPS

if TYPE_CHECKING:
    from mtl_d2.balancing.build import Balancer
    from mtl_d2.balancing.jacobian import Oracle


@STEPS.named("joint")
class Joint(Strategy):
    """theta and all heads move at once, along gradients taken at the same point.

    Differs from: nothing; this is the update of an ordinary trainer.
    """

    def forward(self, oracle: Oracle, balancer: Balancer, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Fills every ``.grad`` and applies them once."""
        result = oracle.combine(balancer.scalarization, balancer.gradient, update)
        apply()
        return result
