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

    def epochs(self, position: int) -> tuple[float, ...]:
        """Of each data set, how often it was gone through before ``position``."""


class Stream(Protocol):
    """Endless epochs of some records."""

    def index(self, position: int) -> int:
        """Index of the record at ``position``."""

    def epoch(self, position: int) -> float:
        """How many epochs there are before ``position``."""


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

    def epoch(self, position: int) -> float:
        """See ``Stream``."""
        return position / self.size


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
        epoch = self._epoch_of(position)
        if epoch != self._epoch:
            self._indices, self._epoch = self._draw(epoch), epoch
        return int(self._indices[position - self._starts[epoch]])

    def epoch(self, position: int) -> float:
        """See ``Stream``."""
        epoch = self._epoch_of(position)
        start, end = self._starts[epoch : epoch + 2]
        return epoch + (position - start) / (end - start)

    def _epoch_of(self, position: int) -> int:
        while position >= self._starts[-1]:  # epochs are of different lengths
            self._starts.append(self._starts[-1] + len(self._draw(len(self._starts) - 1)))
        return bisect_right(self._starts, position) - 1

    def _draw(self, epoch: int) -> np.ndarray:
        generator = np.random.default_rng((*self._key, epoch))
        whole = np.floor(self._factors)
        times = whole + (generator.random(len(whole)) < self._factors - whole)
        return generator.permutation(np.repeat(np.arange(len(whole)), times.astype(np.int64)))


class Union:
    """One stream of all data sets, whose epochs are those of each.

    Args:
        stream: an order of all their records.
        number: of data sets.
    """

    def __init__(self, stream: Stream, number: int) -> None:
        self._stream = stream
        self._number = number

    def index(self, position: int) -> int:
        """Index into the concatenation of the data sets at ``position``."""
        return self._stream.index(position)

    def epochs(self, position: int) -> tuple[float, ...]:
        """See ``Order``."""
        return (self._stream.epoch(position),) * self._number


class FixedShares:
    """Every global batch holds ``shares[i]`` records of data set i, each set being an endless stream of its own.

    Args:
        streams: an order for each data set, of its own records.
        sizes: number of records of each data set.
        shares: number of records of each data set in a global batch; their sum is B.
    """

    def __init__(self, streams: Sequence[Stream], sizes: Sequence[int], shares: Sequence[int]) -> None:
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

    def epochs(self, position: int) -> tuple[float, ...]:
        """See ``Order``."""
        batch, slot = divmod(position, int(self._first_slot[-1]))
        counts = [
            batch * share + min(max(slot - int(first), 0), share)
            for share, first in zip(self._shares, self._first_slot, strict=False)
        ]
        return tuple(stream.epoch(count) for stream, count in zip(self._streams, counts, strict=True))


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
        self.order = order
        self._batch_size = batch_size
        self._start = start
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self._start
        while True:
            positions = range(first + self._rank, first + self._batch_size, self._world_size)
            yield [(p, self.order.index(p)) for p in positions]
            first += self._batch_size
