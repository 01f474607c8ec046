"""Stochastic task allocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_d2.balancing.interfaces import Setup
from mtl_d2.data.allocation.base import ALLOCATIONS, SUBSET_SIZE, Allocation, check_subset_size


@ALLOCATIONS.named("sta")
class STA(Allocation):
    """Each sample is supervised by a uniformly random subset of the tasks that it has labels for.

    Paper: Li, Guo, Li, Zhang and Zuo, On steering multi-annotations per sample for multi-task learning, 2022,
    https://arxiv.org/abs/2203.02946, section 3.2.
        tau_n ~ uniform over the subsets of size min(k, |A_n|) of A_n, the tasks that sample n has labels for
        L_i = mean of the losses of task i over the samples n with i in tau_n
    Differs from: nothing; the paper has k = 1.
    """

    options = {"k": SUBSET_SIZE}

    def __init__(self, setup: Setup, batch_size: int, seed: int = 0, *, k: int) -> None:
        """Args: see ``Allocation`` and ``help``."""
        super().__init__(setup, batch_size, seed)
        self.k = k

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """No more tasks than there are."""
        return check_subset_size(values["k"], setup)

    def draw(self, available: Sequence[str], position: int, use: int) -> tuple[str, ...]:
        """min(k, available) tasks."""
        return self.shuffled(available, position)[: self.k]
