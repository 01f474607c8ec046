"""Aligned-MTL: the task gradients made orthogonal and of one length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Aggregator, Context, Setup
from mtl_d2.balancing.registry import AGGREGATORS
from mtl_d2.options import choice

BALANCES: dict[str, Callable[[Tensor], Tensor]] = {"min": torch.min, "median": torch.median, "rmse": torch.mean}


@AGGREGATORS.named("aligned_mtl")
class AlignedMTL(Aggregator):
    """The mean of the task gradients after the nearest change to orthogonal ones of equal length.

    Paper: Senushkin, Patakin, Kuznetsov and Konushin, Independent Component Alignment for Multi-Task Learning, CVPR
    2023, https://arxiv.org/abs/2305.19000, algorithm 1.
        G = V diag(l) V';  w = sqrt(s) V diag(1 / sqrt(l)) V' 1/T,  s = the smallest, median or mean of the l > 0
    The weights of orthonormal rows add up to 1: scale "mean".
    Differs from: the authors' code, whose equal weights are 1 and not 1/T. Eigenvalues below K machine epsilons of the
    largest count as 0, so that a gradient some 1e-8 times as long as another is left out, and what gradients that are
    some 1e-8 of their length from linear dependence differ in. Above, at eps of their length, the update has a relative
    error of about 1e-15 / eps.
    """

    scale = "mean"
    takes_coordinates = True
    options = {
        "balance": choice(
            "min",
            "s, the squared length of the orthogonal gradients: smallest, median or mean eigenvalue",
            tuple(BALANCES),
        )
    }

    def __init__(self, setup: Setup, balance: str) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.balance = BALANCES[balance]

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) weights."""
        assert context.rows is not None
        V, lengths, _ = torch.linalg.svd(context.rows, full_matrices=False)
        values = lengths**2
        kept = values > len(V) * torch.finfo(values.dtype).eps * values[0]
        V, values = V[:, kept], values[kept]
        return (self.balance(values) / values).sqrt() * V.mean(0) @ V.T
