"""How far a comparison has come, and how long it still takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.state import FAILED, FINISHED, read_outcome, updates_done
from mtl_d2.report.tables import duration

T = TypeVar("T")
PAGE_SHARE = 0.005  # of the time that a comparison takes, at most, goes into its page while runs are under way


class Ration:
    """Lets something be done as often as it takes no more than a share of the time."""

    def __init__(
        self,
        share: float = PAGE_SHARE,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.process_time,
    ) -> None:
        """The first time is due at once.

        Args:
            share: of the time, above 0.
            clock: seconds since some moment.
            cost: seconds that this process has used.
        """
        self.share = share
        self.clock = clock
        self.cost = cost
        self.next = -math.inf

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last one, for what it took."""
        return self.clock() >= self.next

    def spend(self, do: Callable[[], T]) -> T:
        """Does it, and says when the next one is due."""
        before = self.cost()
        result = do()
        self.next = self.clock() + (self.cost() - before) / self.share
        return result


class Progress:
    """Counts updates of all runs, from their logs, and what they took since the start."""

    def __init__(self, runs: Sequence[PlannedRun], clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the clock.

        Args:
            runs: all of them, finished ones included.
            clock: seconds since some moment.
        """
        self.runs = runs
        self.clock = clock
        self.start = clock()
        self.total = sum(run.updates for run in runs)
        self.first = self.done()
        self._told = self.start

    def done(self) -> int:
        """Updates that need not be made any more; a failed run needs none."""
        return sum(_done(run) for run in self.runs)

    def ended(self) -> int:
        """Runs that have come to an end, good or bad."""
        return sum(read_outcome(run.folder).state in (FINISHED, FAILED) for run in self.runs)

    def due(self, seconds: float) -> bool:
        """Whether so many seconds have passed since this last was so."""
        if self.clock() - self._told < seconds:
            return False
        self._told = self.clock()
        return True

    def line(self) -> str:
        """`3 of 12 runs, 31 % of all updates, 12 min left`."""
        done = self.done()
        share = f"{self.ended()} of {len(self.runs)} runs, {done / self.total:.0%} of all updates"
        passed, made = self.clock() - self.start, done - self.first
        if made <= 0 or done >= self.total:
            return share
        return f"{share}, {duration((self.total - done) * passed / made)} left"


def _done(run: PlannedRun) -> int:
    if read_outcome(run.folder).state in (FINISHED, FAILED):
        return run.updates
    return min(updates_done(run.folder), run.updates)
