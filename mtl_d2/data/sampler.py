"""Which sample stands where: the endless global stream as a pure function of (seed, position).

B images in a global batch, N ranks, positions p = 0, 1, 2, ... Global batch b holds the positions [bB, (b+1)B); rank r
takes every Nth of them from the rth on, so that each rank gets its share of every data set.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np


class Order(Protocol):
    """Maps a position of the global stream to an index into the concatenation of the training sets."""

    def index(self, position: int) -> int:
        """Index of the record at ``position``; the same for every rank, worker and run with the same seed."""


class ShuffledStream:
    """0 .. size - 1 in a new order each epoch, one epoch after the other without a gap.

    Args:
        size: number of records, at least 1.
        key: what the order depends on besides the epoch, e.g. the seed.
    """

    def __init__(self, size: int, *key: int) -> None:
        self.size = size
        self._key = key
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def index(self, position: int) -> int:
        """Index in [0, size) at ``position``."""
        epoch, offset = divmod(position, self.size)
        if epoch != self._epoch:
            self._permutation = np.random.default_rng((*self._key, epoch)).permutation(self.size)
            self._epoch = epoch
        return int(self._permutation[offset])


class RepeatedStream:
    """Record i some ``factors[i]`` times in each epoch, in a new order each, one epoch after the other without a gap.

    Paper: LVIS (Gupta et al.), appendix B.2, as detectron2's RepeatFactorTrainingSampler has it: what of a factor is
    not whole is the probability of one time more, drawn anew for each epoch.
    Differs from: detectron2 in the draws, which depend on key and epoch alone.

    Args:
        factors: (size,) each at least 1.
        key: what the order depends on besides the epoch, e.g. the seed.
    """

    def __init__(self, factors: np.ndarray, *key: int) -> None:
        self._factors = np.asarray(factors, dtype=np.float64)
        self._key = key
        self._starts = [0]  # the positions that the epochs begin at
        self._epoch = -1
        self._indices = np.empty(0, dtype=np.int64)

    def index(self, position: int) -> int:
        """Index in [0, size) at ``position``."""
        while position >= self._starts[-1]:  # epochs are of different lengths
            self._starts.append(self._starts[-1] + len(self._draw(len(self._starts) - 1)))
        epoch = bisect_right(self._starts, position) - 1
        if epoch != self._epoch:
            self._indices, self._epoch = self._draw(epoch), epoch
        return int(self._indices[position - self._starts[epoch]])

    def _draw(self, epoch: int) -> np.ndarray:
        generator = np.random.default_rng((*self._key, epoch))
        whole = np.floor(self._factors)
        times = whole + (generator.random(len(whole)) < self._factors - whole)
        return generator.permutation(np.repeat(np.arange(len(whole)), times.astype(np.int64)))


class FixedShares:
    """Every global batch holds ``shares[i]`` records of data set i, each set being an endless stream of its own.

    Args:
        streams: an order for each data set, of its own records.
        sizes: number of records of each data set.
        shares: number of records of each data set in a global batch; their sum is B.
    """

    def __init__(self, streams: Sequence[Order], sizes: Sequence[int], shares: Sequence[int]) -> None:
        self._streams = tuple(streams)
        self._first_index = np.concatenate(([0], np.cumsum(sizes)))
        self._first_slot = np.concatenate(([0], np.cumsum(shares)))
        self._shares = tuple(shares)

    def index(self, position: int) -> int:
        """Index into the concatenation of the data sets at ``position``."""
        batch, slot = divmod(position, int(self._first_slot[-1]))
        i = int(np.searchsorted(self._first_slot, slot, side="right")) - 1
        place = batch * self._shares[i] + slot - int(self._first_slot[i])
        return int(self._first_index[i]) + self._streams[i].index(place)


class RankBatches:
    """One rank's endless batches of (position, index), for torch's ``DataLoader(batch_sampler=...)``.

    Args:
        order: the global order.
        batch_size: B, images in a global batch.
        start: positions that were consumed before, e.g. by the run that is resumed.
        rank: r, in [0, world_size).
        world_size: N, a divisor of B.
    """

    def __init__(self, order: Order, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self._order = order
        self._batch_size = batch_size
        self._start = start
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self._start
        while True:
            positions = range(first + self._rank, first + self._batch_size, self._world_size)
            yield [(p, self._order.index(p)) for p in positions]
            first += self._batch_size
