"""One comparison on several machines with one folder: each trains what no other has, and waits for the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from mtl_d2.comparison.claims import Claims
from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.runner import POLL, Runner
from mtl_d2.comparison.state import FAILED, FINISHED, Outcome, read_outcome

LOOK = 5.0  # seconds between two looks at the runs of other machines


class SharedRunner:
    """A runner whose runs may be trained, or have been trained meanwhile, by processes elsewhere."""

    def __init__(self, runner: Runner, claims: Claims, look: float = LOOK) -> None:
        """Starts nothing yet.

        Args:
            runner: of this machine's processes.
            claims: of this process.
            look: seconds between two looks at what others do.
        """
        self.runner = runner
        self.claims = claims
        self.look = look

    def __call__(
        self, runs: Sequence[PlannedRun], tick: Callable[[], None] = lambda: None
    ) -> Generator[PlannedRun, None, None]:
        """Gives each run when it has ended, here or elsewhere; as ``Runner`` does."""
        before = {run.folder: read_outcome(run.folder) for run in runs}
        waiting = list(runs)
        looked = -self.look
        try:
            while waiting or self.runner.children:
                waiting += self._lost()
                ended = self._ended()
                if ended or time.monotonic() - looked >= self.look:
                    looked = time.monotonic()
                    over = [run for run in waiting if _is_over(run, before[run.folder])]
                    waiting = self._start([run for run in waiting if run not in over], before)
                    ended += over
                yield from ended
                tick()
                time.sleep(POLL if waiting or self.runner.children else 0)
        finally:
            self.runner.stop()
            self.claims.close()

    def _lost(self) -> list[PlannedRun]:
        """Runs that were trained here and that another machine has taken over; they are waited for."""
        lost = self.runner.abandon(self.claims.lost)
        for run in lost:
            self.claims.release(run.folder)
        return lost

    def _ended(self) -> list[PlannedRun]:
        ended = self.runner.ended()
        for run in ended:
            self.claims.release(run.folder)
        return ended

    def _start(self, runs: Sequence[PlannedRun], before: dict[Path, Outcome]) -> list[PlannedRun]:
        """Starts what is free as long as there is room; gives the rest."""
        left = []
        for run in runs:
            if self.runner.full or not self.claims.take(run.folder):
                left.append(run)
            elif _is_over(run, before[run.folder]) or not self._start_one(run):
                self.claims.release(run.folder)
                left.append(run)
        return left

    def _start_one(self, run: PlannedRun) -> bool:
        try:
            self.runner.start(run)
        except BlockingIOError:  # a training that its comparison has left behind on this machine
            return False
        return True


def _is_over(run: PlannedRun, before: Outcome) -> bool:
    """Whether somebody else has brought a run to its end since ``before``."""
    outcome = read_outcome(run.folder)
    return outcome.state == FINISHED or (outcome.state == FAILED and outcome != before)
