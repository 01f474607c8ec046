"""IMTL-G: the combination with equal projections onto all task gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.exact.coordinates import RANK
from mtl_d2.balancing.interfaces import Aggregator, Context
from mtl_d2.balancing.registry import AGGREGATORS


def equal_projections(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) weights z of the unit rows u_i, and their combination x (r,) that has projection 1 onto each of them.

    The shortest least squares solution where there is none: rows that oppose each other get 0, as far as they do.

    Args:
        rows: (K, r) float64, finite, none 0.
    """
    inverse = torch.linalg.pinv(rows / rows.norm(dim=1, keepdim=True), rtol=RANK)  # (r, K)
    x = inverse.sum(1)
    return x @ inverse, x


@AGGREGATORS.named("imtl_g")
class IMTLG(Aggregator):
    """The combination of the task gradients whose projections onto all of them are equal.

    Paper: Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, Towards Impartial Multi-task Learning, ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, eq. 6 and 7.
        update = sum_i w_i g_i with update . u_i the same for all i, u_i = g_i / ||g_i||, sum_i w_i = 1
        w_i = v_i / sum_j v_j,  v = diag(1 / ||g||) pinv(cosines) 1
    The weights add up to 1, and some may be negative: scale "mean".
    Differs from: the paper, which takes the gradient of the shared feature; here it is that of all shared parameters.
    Its inverse does not exist for parallel gradients, whose weights here are those of their limit for T = 2. Where no
    weights with sum 1 have equal projections (opposite gradients), the update is 0. Of gradients that are eps of their
    length from linear dependence the update has a relative error of about 1e-15 / eps; below 1e-14 they count as
    dependent.
    """

    scale = "mean"
    takes_coordinates = True

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights with sum 1, or all 0."""
        assert context.rows is not None
        z, _ = equal_projections(context.rows)
        v = z / gramian.diagonal().sqrt()
        v = v / v.abs().max().clamp(min=torch.finfo(v.dtype).tiny)
        total = v.sum()
        return torch.zeros_like(v) if total.abs() < 1e-12 else v / total
