"""Runs trainings in processes of their own, several at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.state import CONFIG
from mtl_d2.comparison.training import Training, stop

POLL = 0.2  # seconds between two looks at the processes


@dataclass
class Child:
    """The process of a run, in one of the runner's places."""

    run: PlannedRun
    slot: int
    training: Training


class Runner:
    """Keeps up to ``jobs`` processes going, each alone in its run's folder."""

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
        self.children: list[Child] = []

    def __call__(
        self, runs: Sequence[PlannedRun], tick: Callable[[], None] = lambda: None
    ) -> Generator[PlannedRun, None, None]:
        """Gives each run when it has ended, ``tick`` being called while waiting.

        On an exception, KeyboardInterrupt included, all processes are asked to end, and are killed if they do not.
        """
        waiting = list(runs)
        try:
            while waiting or self.children:
                while waiting and not self.full:
                    self.start(waiting.pop(0))
                yield from self.ended()
                tick()
                time.sleep(POLL if self.children else 0)
        finally:
            self.stop()

    @property
    def full(self) -> bool:
        """Whether no more can be started now."""
        return len(self.children) >= self.jobs

    def start(self, run: PlannedRun) -> None:
        """Starts a run in a free place.

        Raises:
            BlockingIOError: another process trains in its folder.
        """
        slot = min(set(range(self.jobs)) - {child.slot for child in self.children})
        command, environment = self.command(run.folder / CONFIG), self.environment(slot, run.on_gpu)
        training = Training(run.folder, run.config, run.updates, command, environment)
        self.children.append(Child(run, slot, training))

    def ended(self) -> list[PlannedRun]:
        """The runs that have ended since this was asked last; their outcomes are written."""
        over = [child for child in self.children if child.training.ended()]
        self.children = [child for child in self.children if child not in over]
        return [child.run for child in over]

    def abandon(self, folders: Collection[Path]) -> list[PlannedRun]:
        """Kills the processes that train in some folders and leaves what is there to others; gives their runs."""
        lost = [child for child in self.children if child.run.folder in folders]
        for child in lost:
            child.training.abandon()
            self.children.remove(child)
        return [child.run for child in lost]

    def stop(self) -> None:
        """Ends all processes."""
        stop([child.training for child in self.children])
        self.children = []

    def environment(self, slot: int, on_gpu: bool) -> Mapping[str, str]:
        """Variables of the process in place ``slot`` of ``jobs``: its share of the cores, and its GPU."""
        threads = str(max(self.cores // self.jobs, 1))
        variables = {name: os.environ.get(name, threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        variables["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
        if on_gpu and self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return variables
