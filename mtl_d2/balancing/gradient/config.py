"""ConFIG: a direction with equal positive cosine to all task gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.gradient.imtl_g import equal_projections
from mtl_d2.balancing.interfaces import Aggregator, Context
from mtl_d2.balancing.registry import AGGREGATORS


@AGGREGATORS.named("config")
class ConFIG(Aggregator):
    """The direction with the same cosine to all task gradients, as long as their projections onto it together.

    Paper: Liu, Chu and Thuerey, ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks, ICLR 2025,
    https://arxiv.org/abs/2408.11104, eq. 2, 3.
        x = pinv([u_1, ..., u_T]') 1,  u_i = g_i / ||g_i||;  update = (sum_i g_i . x) x / ||x||^2
    In terms of the cosine matrix C: x = sum_i z_i u_i with z = pinv(C) 1, ||x||^2 = 1'z.
    Without conflict between orthogonal gradients the weights are 1: scale "sum".
    Differs from: nothing where such a direction exists; opposite gradients have none, and the update is 0. Of gradients
    that are eps of their length from linear dependence the update has a relative error of about 1e-15 / eps; below
    1e-14 they count as dependent.
    """

    scale = "sum"
    takes_coordinates = True

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights."""
        assert context.rows is not None
        z, x = equal_projections(context.rows)
        square = x @ x
        if square < 1e-12:
            return torch.zeros_like(z)
        return (context.rows @ x).sum() / square * z / gramian.diagonal().sqrt()
