"""DB-MTL: all task gradients as long as the longest of them."""

from __future__ import annotations

from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("dbmtl")
class DBMTL(Aggregator):
    """The sum of the task gradients, each made as long as the longest.

    Paper: Lin, Jiang, Ye, Zhang, Chen, Chen, Liu and Kwok, Dual-Balancing for Multi-Task Learning, 2023,
    https://arxiv.org/abs/2308.12029, algorithm 1.
        update = sum_i max_j ||g_j|| / ||g_i|| * g_i
    This is the gradients' half of the method; its losses' half, g_i the gradient of log L_i, is MTL.SCALARIZATION.MEAN
    "log": DB-MTL is both. Heads get the gradient of log L_i then, as in the paper. Scale "sum".
    Differs from: the paper, which takes running averages of the gradients (its beta; here 0), a copy of the shared
    parameters for each task.
    """

    scale = "sum"

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights >= 1."""
        norms = gramian.diagonal().sqrt()
        return norms.max() / norms
