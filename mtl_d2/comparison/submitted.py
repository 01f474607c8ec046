"""Runs as jobs that outlive whoever submits them: handed over, found again, waited for, cancelled."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtl_d2.comparison.claims import Claims
from mtl_d2.comparison.cluster import CANCELLED, FOLDER, Cluster
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.job import RunJob
from mtl_d2.comparison.job_records import JobRecord, forget, here, read_record, recorded, write_record
from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.state import CONFIG, FAILED, FINISHED, INTERRUPTED, OUTCOME, Outcome, read_outcome, write_outcome
from mtl_d2.comparison.training import PATIENCE, last_checkpoint

POLL = 0.2  # seconds between two calls of tick


@dataclass(frozen=True)
class Submitted:
    """A run, and its job."""

    run: PlannedRun
    record: JobRecord


class SubmittedRunner:
    """Hands runs over to a cluster and waits for them; where it is ended itself, the jobs go on.

    A job that ends before its run does, and has brought it to a further checkpoint, is followed by another.
    """

    def __init__(
        self,
        cluster: Cluster,
        output: Path,
        command: Callable[[Path], Sequence[str]],
        environment: Callable[[int, bool], Mapping[str, str]] = lambda place, on_gpu: {},
        grace: float = PATIENCE,
    ) -> None:
        """Submits nothing yet.

        Args:
            cluster: where the jobs run.
            output: the comparison's folder.
            command: the command line for a config file.
            environment: variables of a job for its place and whether it wants a GPU.
            grace: seconds that a training has for its checkpoint when its job is about to be stopped.
        """
        self.cluster = cluster
        self.output = output
        self.command = command
        self.environment = environment
        self.grace = grace
        self.jobs: list[Submitted] = []
        self.waiting: list[PlannedRun] = []

    def __call__(
        self, runs: Sequence[PlannedRun], tick: Callable[[], None] = lambda: None
    ) -> Generator[PlannedRun, None, None]:
        """Gives each run when it has ended, ``tick`` being called while waiting."""
        before = {run.folder: read_outcome(run.folder) for run in runs}
        self.waiting, self.jobs = list(runs), []
        looked = -self.cluster.period
        while self.waiting or self.jobs:
            if time.monotonic() - looked >= self.cluster.period:
                looked = time.monotonic()
                yield from self._fill(before)
                yield from [job.run for job in self.jobs.copy() if self._ended(job)]
            tick()
            time.sleep(POLL if self.waiting or self.jobs else 0)

    def _fill(self, before: Mapping[Path, Outcome]) -> list[PlannedRun]:
        """Finds jobs or submits them as long as there is room; gives the runs that another command has finished."""
        room = len(self.waiting) if self.cluster.at_once is None else self.cluster.at_once - len(self.jobs)
        if not self.waiting or (room <= 0 and not any(read_record(run.folder) for run in self.waiting)):
            return []
        over: list[PlannedRun] = []
        with self._alone():
            due: list[PlannedRun] = []
            for run in self.waiting.copy():
                record, outcome = read_record(run.folder), read_outcome(run.folder)
                if record is not None and self._lives(run.folder, record):
                    self.jobs.append(Submitted(run, record))
                    room -= 1
                elif outcome.state == FINISHED or (outcome.state == FAILED and outcome != before[run.folder]):
                    over.append(run)
                elif len(due) < room:
                    due.append(run)
                    continue
                else:
                    continue
                self.waiting.remove(run)
            self._submit(due[: max(room, 0)])
        return over

    def _submit(self, runs: Sequence[PlannedRun]) -> None:
        if not runs:
            return
        taken = {job.record.place for job in self.jobs}
        places = [i for i in range(len(taken) + len(runs)) if i not in taken][: len(runs)]
        jobs = [self._job(run, place) for run, place in zip(runs, places, strict=True)]
        with _signals_wait():
            for run, place, job in zip(runs, places, self.cluster.submit(jobs), strict=True):
                record = JobRecord(self.cluster.name, job, here(), place, last_checkpoint(run.folder))
                write_record(run.folder, record)
                self.jobs.append(Submitted(run, record))
                self.waiting.remove(run)

    def _job(self, run: PlannedRun, place: int) -> RunJob:
        folder = run.folder.resolve()
        command = tuple(self.command(folder / CONFIG))
        return RunJob(folder, run.config, run.updates, command, self.environment(place, run.on_gpu), self.grace)

    def _lives(self, folder: Path, record: JobRecord) -> bool:
        if record.executor != self.cluster.name:
            why = f"{folder} has a job of --executor {record.executor}; go on with that, or --cancel it first"
            raise ComparisonError("the comparison's folder", [why])
        if self.cluster.name == "local" and record.host != here():
            why = f"{folder} has a job on {record.host}; go on there, or --cancel it there"
            raise ComparisonError("the comparison's folder", [why])
        return not self.cluster.state(record.job)

    def _ended(self, job: Submitted) -> bool:
        """Whether a job is over and no other follows it; the run's outcome is then there."""
        folder = job.run.folder
        state = self.cluster.state(job.record.job)
        if not state:
            return False
        self.jobs.remove(job)
        record, outcome = read_record(folder), read_outcome(folder)
        if outcome.state in (FINISHED, FAILED):
            if record is not None and record.job == job.record.job:
                forget(folder)
            return True
        if record is None or record.job != job.record.job:  # another command has seen to it, and may have a job for it
            self.waiting.insert(0, job.run)
            return False
        forget(folder)
        cancelled = record.cancelled or state.startswith(CANCELLED)
        if not cancelled and last_checkpoint(folder) != record.checkpoint:
            self.waiting.insert(0, job.run)
            return False
        log = self.output / FOLDER / f"{record.job}_0_log.err"
        why = (
            f"its job {record.job} was cancelled"
            if cancelled
            else f"its job {record.job} ended ({state.lower()}): {log}"
        )
        told = f"{outcome.reason}; {why}" if (folder / OUTCOME).exists() and outcome.reason else why
        write_outcome(folder, Outcome(INTERRUPTED, told, outcome.memory, outcome.seconds))
        return True

    @contextmanager
    def _alone(self) -> Generator[None, None, None]:
        """One command at a time looks which runs have no job, and submits them."""
        claims = Claims()
        self.output.mkdir(parents=True, exist_ok=True)
        while not claims.take(self.output):
            time.sleep(POLL)
        try:
            yield
        finally:
            claims.close()


@contextmanager
def _signals_wait() -> Generator[None, None, None]:
    """Ctrl-C and SIGTERM are heard afterwards: jobs without a record would be submitted twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in heard[:1]:
            signal.raise_signal(number)


def cancel_all(output: Path, cluster_of: Callable[[str], Cluster]) -> list[str]:
    """Ends all jobs of a comparison; gives their ids.

    Args:
        output: the comparison's folder.
        cluster_of: the cluster for an executor's name.

    Raises:
        ComparisonError: a job of this kind cannot be ended from here.
    """
    ids = []
    for folder, record in recorded(output):
        cluster = cluster_of(record.executor)
        if record.executor == "local" and record.host != here():
            raise ComparisonError("--cancel", [f"{folder} has a job on {record.host}; cancel it there"])
        if cluster.state(record.job):
            forget(folder)
            continue
        write_record(folder, replace(record, cancelled=True))  # first: who waits for it must not submit another
        cluster.cancel(record.job)
        ids.append(record.job)
    return ids
