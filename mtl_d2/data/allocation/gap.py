"""Between STA and ISTA: a mini-batch comes back after a number of updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_d2.balancing.base import Setup
from mtl_d2.data.allocation.base import ALLOCATIONS
from mtl_d2.data.allocation.ista import ISTA


@ALLOCATIONS.named("gap")
class Gap(ISTA):
    """Every mini-batch is used again n updates after its last use: n new mini-batches, then the same n again.

    Paper: On steering multi-annotations per sample for multi-task learning, table 7 (T = 2, k = 1).
    With the complementary draw a sample gets tasks it has not had yet; gap 1 is then ISTA. With the random draw each
    use is a draw of STA of its own.
    Differs from: the paper says "randomly chosen" of the second use; complementary, the default, is our reading, since
    the paper takes ISTA for gap 1. It leaves T > 2 open: here a mini-batch is used ceil(T/k) times, always n updates
    apart, so that the complementary draw covers every label once for every T (with T <= 2k the second use gets all that
    the first left).
    """

    defaults = {"n": 2, "k": 1, "draw": "complementary"}
    help = {
        "n": "updates between two uses of a mini-batch, >= 1; n mini-batches are held in memory",
        "k": ISTA.help["k"],
        "draw": "'complementary': tasks the sample has not had yet; 'random': any, drawn anew in each use",
    }

    def __init__(self, setup: Setup, batch_size: int, seed: int = 0, *, n: int, k: int, draw: str) -> None:
        """Args: see ``Allocation`` and ``help``."""
        super().__init__(setup, batch_size, seed, k=k)
        self.block = n
        self.random = draw == "random"

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """Ranges of n and k, and the draw's name."""
        found = super().check(options, setup)
        n = options["n"]
        if not isinstance(n, int) or n < 1:
            found.append(f"N must be an integer >= 1, got {n}")
        if options["draw"] not in ("complementary", "random"):
            found.append(f"DRAW must be 'complementary' or 'random', got {options['draw']!r}")
        return found

    def draw(self, available: Sequence[str], position: int, use: int) -> tuple[str, ...]:
        """What is left, or anything."""
        if self.random:
            return self.shuffled(available, position, use)[: self.k]
        return super().draw(available, position, use)
