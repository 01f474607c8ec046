"""What a job on a cluster does: it trains one run, and hands the rest to its next start."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from mtl_d2.comparison.state import FAILED, FINISHED, read_outcome
from mtl_d2.comparison.training import Training, last_checkpoint, stop

POLL = 0.2  # seconds between two looks at the training
LOCK_PATIENCE = 300.0  # seconds that a job waits for a folder: the job before it may still be ending
# What schedulers send to every process of a job before its time is over; the training hears of it from the job alone.
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)


@dataclass
class RunJob:
    """One run, as submitit calls it on the machine of the job, and again each time that the job is queued anew.

    Attributes:
        folder: of the run.
        config: YAML of the whole config.
        updates: how many make a finished run.
        command: the training's command line.
        environment: variables that it gets; the number of threads follows from the job's cores unless it is given.
        grace: seconds that the training has for its checkpoint when the job is about to be stopped.
        again: whether the job has been queued anew.
    """

    folder: Path
    config: str
    updates: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    grace: float
    again: bool = False
    training: Training | None = field(default=None, repr=False)
    began_with: str = ""
    told_to_end: bool = False

    def __call__(self) -> str:
        """Trains, from the last checkpoint on if there is one; gives the state that the run ended in."""
        if self.again and read_outcome(self.folder).state in (FINISHED, FAILED):
            return read_outcome(self.folder).state
        signal.signal(signal.SIGTERM, self._pass_on)
        self.began_with = last_checkpoint(self.folder)
        with _undisturbed():  # the training, too, starts with these signals blocked
            self.training = self._start()
        while not self._ended():
            time.sleep(POLL)
        if self.told_to_end:
            sys.exit(128 + signal.SIGTERM)  # no result: what comes next, is for the scheduler that has sent SIGTERM
        return read_outcome(self.folder).state

    def checkpoint(self) -> Any:
        """Called by submitit when the job is preempted or out of time: the training ends in order, and what is next.

        Returns:
            The rest of the run; None where this job has not come as far as a checkpoint, and the next would not either.
        """
        import submitit

        if self.training is not None:
            stop([self.training], self.grace)
        if read_outcome(self.folder).state not in (FINISHED, FAILED) and not self.advanced():
            return None
        return submitit.helpers.DelayedSubmission(replace(self, again=True, training=None, told_to_end=False))

    def advanced(self) -> bool:
        """Whether the run has a checkpoint that it did not have when this job began."""
        return last_checkpoint(self.folder) != self.began_with

    def _start(self) -> Training:
        threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
        variables = {name: os.environ.get(name, threads) for name in names} | dict(self.environment)
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return Training(self.folder, self.config, self.updates, self.command, variables, own_session=False)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def _ended(self) -> bool:
        with _undisturbed():
            return self.training is None or self.training.ended()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM, of a cancelled or preempted job, ends the training in order."""
        self.told_to_end = True
        if self.training is not None:
            self.training.ask(number)


@contextmanager
def _undisturbed() -> Generator[None, None, None]:
    """A step that ``checkpoint`` must find done or not begun: it is called by a signal, between any two lines."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
