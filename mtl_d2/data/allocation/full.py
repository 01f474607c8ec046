"""Full task allocation."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_d2.data.allocation.base import ALLOCATIONS, Allocation, Batch


@ALLOCATIONS.named("full")
class Full(Allocation):
    """Every task that a sample has a label for supervises it: the mini-batches as the loader gives them.

    Paper: Li, Guo, Li, Zhang and Zuo, On steering multi-annotations per sample for multi-task learning, 2022,
    https://arxiv.org/abs/2203.02946, section 3.1, "Full Task" (FT).
    Differs from: nothing. Their FT+ is this one for as many updates as ISTA makes; see docs/allocation.md.
    """

    def draw(self, available: Sequence[str], position: int, use: int) -> tuple[str, ...]:
        """All of ``available``."""
        return tuple(available)

    def allocate(self, samples: Batch, use: int) -> Batch:
        """The samples themselves; one without a label stays, and is padded for, as with any other trainer."""
        return samples
