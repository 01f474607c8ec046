"""Data sets drawn in proportion to weights, each gone through in shuffled epochs of its own."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from mtl_d2.data.sampler import Stream

BLOCK = 1024  # positions within which data sets are shuffled: their counts are exact at every multiple
DRAWS = 0x3147  # keeps these draws apart from those of the streams, which have the same seed
FINENESS = 2**40  # of the weights, which count as whole numbers, so that nothing is rounded however long a run is


def of_sizes(sizes: Sequence[int], temperature: float) -> list[float]:
    """Weights size^(1 / temperature).

    1 is in proportion to the sizes, as with a shuffled union; the higher, the more alike are small and large sets.

    Args:
        sizes: number of records of each data set, at least 1.
        temperature: > 0.
    """
    logarithms = np.log(np.asarray(sizes, dtype=np.float64)) / temperature
    return np.exp(logarithms - logarithms.max()).tolist()


class WeightedMixture:
    """Every position belongs to data set i with probability w_i / sum w; its records come in shuffled epochs.

    The counts are no matter of luck. Record m = 0, 1, ... of data set i is due at (m + 1/2) / w_i, and the first n
    positions hold the n records that are due first: the seats that Webster's method (Sainte-Lague's) gives to shares
    w_i, which never takes one back when n grows. Within each ``BLOCK`` of positions data sets stand in a random order,
    so that no batch and no rank sees a pattern.

    Args:
        streams: an order for each data set, of its own records.
        sizes: number of records of each data set.
        weights: w, (S,) > 0 of any sum.
        seed: the order of data sets depends on it and the position.
    """

    def __init__(self, streams: Sequence[Stream], sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        self._streams = tuple(streams)
        self._first_index = np.concatenate(([0], np.cumsum(sizes)))
        exact = list(map(Fraction, weights))
        self._weights = [max(1, round(weight / sum(exact) * FINENESS)) for weight in exact]
        self._seed = seed
        self._block = -1
        self._sets = self._places = np.empty(0, dtype=np.int64)

    def index(self, position: int) -> int:
        """Index into the concatenation of the data sets at ``position``."""
        block, offset = divmod(position, BLOCK)
        if block != self._block:
            self._draw(block)
        i = int(self._sets[offset])
        return int(self._first_index[i]) + self._streams[i].index(int(self._places[offset]))

    def epochs(self, position: int) -> tuple[float, ...]:
        """See ``Order``."""
        block, offset = divmod(position, BLOCK)
        if block != self._block:
            self._draw(block)
        counts = np.array(self.counts(block * BLOCK)) + np.bincount(self._sets[:offset], minlength=len(self._streams))
        return tuple(stream.epoch(int(count)) for stream, count in zip(self._streams, counts, strict=True))

    def counts(self, positions: int) -> list[int]:
        """Records of each data set among so many positions, a multiple of ``BLOCK``; they add up to it."""
        weights, total = self._weights, sum(self._weights)
        # At this time not more than that many are due, and fewer by at most the number of data sets.
        time = max(0, positions - (len(weights) + 1) // 2)
        counts = [(2 * time * w + total) // (2 * total) for w in weights]
        for _ in range(positions - sum(counts)):
            due = [Fraction(2 * count + 1, w) for count, w in zip(counts, weights, strict=True)]
            counts[due.index(min(due))] += 1
        return counts

    def _draw(self, block: int) -> None:
        before, after = self.counts(block * BLOCK), self.counts((block + 1) * BLOCK)
        sets = np.repeat(np.arange(len(before)), np.subtract(after, before))
        self._sets = np.random.default_rng((self._seed, DRAWS, block)).permutation(sets)
        self._places = np.empty(BLOCK, dtype=np.int64)
        for i, (first, end) in enumerate(zip(before, after, strict=True)):
            self._places[self._sets == i] = np.arange(first, end)
        self._block = block
