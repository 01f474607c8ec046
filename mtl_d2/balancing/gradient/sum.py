"""The plain sum of the task gradients."""

from __future__ import annotations

from mtl_d2.balancing.interfaces import Aggregator
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("sum")
class Sum(Aggregator):
    """The gradient of the sum of the task losses: weight 1 for every task and head.

    Differs from: nothing; this is what detectron2's SimpleTrainer does.
    """

    scale = "sum"

    def constant(self, num_tasks: int) -> float:
        """1 for every task."""
        return 1.0
