"""Interleaved stochastic task allocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_d2.balancing.interfaces import Setup
from mtl_d2.data.allocation.base import ALLOCATIONS, SUBSET_SIZE, Allocation, check_subset_size


@ALLOCATIONS.named("ista")
class ISTA(Allocation):
    """A mini-batch is used in consecutive updates, in which its samples draw their tasks without replacement.

    Paper: Li, Guo, Li, Zhang and Zuo, On steering multi-annotations per sample for multi-task learning, 2022,
    https://arxiv.org/abs/2203.02946, section 3.3.
        rest_n = A_n; in each of ceil(T/k) updates: tau_n ~ uniform, min(k, |rest_n|) of rest_n; rest_n -= tau_n
    After them every label of the mini-batch has been used once. A sample whose tasks are used up leaves the batch.
    Differs from: nothing where every sample has all T labels. Where some are missing the number of updates stays
    ceil(T/k), so that all processes agree on it; a mini-batch whose samples have at most k labels each is then followed
    by updates without any sample, which change no parameter.
    """

    options = {"k": SUBSET_SIZE}

    def __init__(self, setup: Setup, batch_size: int, seed: int = 0, *, k: int) -> None:
        """Args: see ``Allocation`` and ``help``."""
        super().__init__(setup, batch_size, seed)
        self.k = k
        self.uses = -(-setup.num_tasks // k)

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """No more tasks than there are."""
        return check_subset_size(values["k"], setup)

    def draw(self, available: Sequence[str], position: int, use: int) -> tuple[str, ...]:
        """The next k of one random order, which is the same in all uses."""
        return self.shuffled(available, position)[use * self.k : (use + 1) * self.k]
