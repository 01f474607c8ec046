"""Runs trainings in processes of their own, several at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.state import (
    CONFIG,
    CONSOLE,
    FAILED,
    FINISHED,
    INTERRUPTED,
    OUTCOME,
    Outcome,
    error_of,
    read_outcome,
    updates_done,
    write_outcome,
)
from mtl_d2.files import write_atomically
from mtl_d2.locks import lock_folder

PATIENCE = 20.0  # seconds that a process has to end after it was asked to
POLL = 0.2  # seconds between two looks at the processes


@dataclass
class _Child:
    run: PlannedRun
    process: subprocess.Popen
    slot: int
    start: float
    before: Outcome
    files: tuple[IO, ...]


class Runner:
    """Keeps up to ``jobs`` processes going, each alone in its run's folder.

    A folder is locked by a file that the process holds open, so that a second comparison cannot train in it as well,
    even when the first has been killed and has left its processes behind.
    """

    def __init__(self, command: Callable[[Path], Sequence[str]], jobs: int, gpus: Sequence[str], cores: int) -> None:
        """Starts nothing yet.

        Args:
            command: the command line for a config file.
            jobs: processes at a time, at least 1.
            gpus: CUDA devices, which the processes get in turn.
            cores: of the CPU, which the processes divide.
        """
        self.command = command
        self.jobs = jobs
        self.gpus = gpus
        self.cores = cores
        self.children: list[_Child] = []

    def __call__(
        self, runs: Sequence[PlannedRun], tick: Callable[[], None] = lambda: None
    ) -> Generator[PlannedRun, None, None]:
        """Gives each run when it has ended, ``tick`` being called while waiting.

        On an exception, KeyboardInterrupt included, all processes are asked to end, and are killed if they do not.
        """
        waiting = list(runs)
        try:
            while waiting or self.children:
                while waiting and len(self.children) < self.jobs:
                    self._start(waiting.pop(0))
                for child in [child for child in self.children if self._ended(child)]:
                    yield child.run
                tick()
                time.sleep(POLL if self.children else 0)
        finally:
            self._stop()

    def _start(self, run: PlannedRun) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(run.folder)
        if lock is None:
            raise BlockingIOError(f"{run.folder}: another process is training there; wait for it or end it")
        before = read_outcome(run.folder)
        (run.folder / OUTCOME).unlink(missing_ok=True)
        config = write_atomically(run.folder / CONFIG, run.config)
        slot = min(set(range(self.jobs)) - {child.slot for child in self.children})
        console = (run.folder / CONSOLE).open("ab")
        process = subprocess.Popen(
            self.command(config),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment(slot, run.on_gpu)},
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C reaches this process alone, which then asks the others to end
        )
        self.children.append(_Child(run, process, slot, time.monotonic(), before, (lock, console)))

    def environment(self, slot: int, on_gpu: bool) -> Mapping[str, str]:
        """Variables of the process in place ``slot`` of ``jobs``: its share of the cores, and its GPU."""
        threads = str(max(self.cores // self.jobs, 1))
        variables = {name: os.environ.get(name, threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        variables["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
        if on_gpu and self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return variables

    def _ended(self, child: _Child) -> bool:
        """Whether a process has ended; its outcome is then written."""
        pid, status, usage = os.wait4(child.process.pid, os.WNOHANG)
        if not pid:
            return False
        code = child.process.returncode = os.waitstatus_to_exitcode(status)
        self.children.remove(child)
        memory = usage.ru_maxrss * (1024 if os.uname().sysname == "Linux" else 1)
        write_outcome(child.run.folder, self._outcome(child, code, memory))
        for file in child.files:
            file.close()
        return True

    def _outcome(self, child: _Child, code: int, memory: int) -> Outcome:
        memory = max(memory, child.before.memory)
        seconds = child.before.seconds + time.monotonic() - child.start
        if code < 0:
            return Outcome(INTERRUPTED, f"ended by signal {signal.Signals(-code).name}", memory, seconds)
        if code:
            return Outcome(FAILED, error_of(child.run.folder, code), memory, seconds)
        done, planned = updates_done(child.run.folder), child.run.updates
        if done < planned:  # a trainer that is asked to end may do so in order
            return Outcome(INTERRUPTED, f"stopped after {done} of {planned} updates", memory, seconds)
        return Outcome(FINISHED, "", memory, seconds)

    def _stop(self) -> None:
        for child in self.children:
            _signal(child.process, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self.children and time.monotonic() < deadline:
            for child in [child for child in self.children if self._ended(child)]:
                _was_asked(child.run.folder)
            time.sleep(0.05)
        for child in list(self.children):
            _signal(child.process, signal.SIGKILL)
            while not self._ended(child):
                time.sleep(0.05)
            _was_asked(child.run.folder)


def _was_asked(folder: Path) -> None:
    """A run that was stopped by us did not fail, whatever it said when it ended."""
    outcome = read_outcome(folder)
    if outcome.state == FAILED:
        write_outcome(folder, Outcome(INTERRUPTED, "stopped with the comparison", outcome.memory, outcome.seconds))


def _signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
