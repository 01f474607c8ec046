"""DualProj: the mean gradient, made free of conflict with all tasks."""

from __future__ import annotations

from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context
from mtl_d2.balancing.quadratic import harmless
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("dualproj")
class DualProj(Aggregator):
    """The direction that harms no task and is closest to the mean of the task gradients.

    Paper: Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, NeurIPS 2017,
    https://arxiv.org/abs/1706.08840, eq. 11; as an aggregator of tasks in Quinton and Rey, Jacobian Descent for
    Multi-Objective Optimization, 2024, https://arxiv.org/abs/2406.16232.
        update = the point of {x: g_j . x >= 0 for all j} that is closest to g_0 = 1/T sum_i g_i
        = g_0 + sum_j l_j g_j with l = argmin_{l >= 0} ||g_0 + sum_j l_j g_j||^2
    Without conflict it is the mean: scale "mean". UPGrad projects each gradient, then takes the mean.
    Differs from: nothing; the mean is over the tasks that are present. Of gradients that are opposite but for eps of
    their length, what is left has a relative error of about 1e-15 / eps.
    """

    scale = "mean"
    takes_coordinates = True

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 1/K."""
        assert context.rows is not None
        return 1 / len(gramian) + harmless(context.rows, context.rows.mean(0))
