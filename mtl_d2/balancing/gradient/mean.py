"""The mean of the task gradients."""

from __future__ import annotations

from mtl_d2.balancing.interfaces import Aggregator
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("mean")
class Mean(Aggregator):
    """The mean of the task gradients: weight 1/T for every task and head.

    Differs from: a mean over the tasks that happen to be present. T is fixed, so that a task that is absent from some
    updates keeps, in expectation, the weight it has when it is in all of them.
    """

    scale = "mean"

    def constant(self, num_tasks: int) -> float:
        """1/T for every task."""
        return 1.0 / num_tasks
