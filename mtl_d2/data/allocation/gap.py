"""Between STA and ISTA: a mini-batch comes back after a number of updates."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_d2.balancing.interfaces import Setup
from mtl_d2.data.allocation.base import ALLOCATIONS
from mtl_d2.data.allocation.ista import ISTA
from mtl_d2.options import choice, whole


@ALLOCATIONS.named("gap")
class Gap(ISTA):
    """Every mini-batch is used again n updates after its last use: n new mini-batches, then the same n again.

    Paper: Li, Guo, Li, Zhang and Zuo, On steering multi-annotations per sample for multi-task learning, 2022,
    https://arxiv.org/abs/2203.02946, table 7 (T = 2, k = 1).
    With the complementary draw a sample gets tasks it has not had yet; gap 1 is then ISTA. With the random draw each
    use is a draw of STA of its own.
    Differs from: the paper says "randomly chosen" of the second use; complementary, the default, is our reading, since
    the paper takes ISTA for gap 1. It leaves T > 2 open: here a mini-batch is used ceil(T/k) times, always n updates
    apart, so that the complementary draw covers every label once for every T (with T <= 2k the second use gets all that
    the first left).
    """

    options = {
        "n": whole(2, "updates between two uses of a mini-batch; n mini-batches are held in memory"),
        **ISTA.options,
        "draw": choice(
            "complementary",
            "'complementary': tasks the sample has not had yet; 'random': any, drawn anew in each use",
            ("complementary", "random"),
        ),
    }

    def __init__(self, setup: Setup, batch_size: int, seed: int = 0, *, n: int, k: int, draw: str) -> None:
        """Args: see ``Allocation`` and ``help``."""
        super().__init__(setup, batch_size, seed, k=k)
        self.block = n
        self.random = draw == "random"

    def draw(self, available: Sequence[str], position: int, use: int) -> tuple[str, ...]:
        """What is left, or anything."""
        if self.random:
            return self.shuffled(available, position, use)[: self.k]
        return super().draw(available, position, use)
