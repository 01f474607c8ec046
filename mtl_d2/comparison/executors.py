"""Who trains the runs of a comparison: processes of the command, processes that it shares, or jobs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mtl_d2.comparison.claims import Claims
from mtl_d2.comparison.cluster import Cluster, LocalCluster, SlurmCluster
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.runner import Runner
from mtl_d2.comparison.sharing import SharedRunner
from mtl_d2.comparison.slurm_settings import slurm_parameters
from mtl_d2.comparison.submitted import SubmittedRunner

EXECUTORS = ("process", "local", "slurm")
LOCAL_GRACE = 60.0  # seconds for a checkpoint


class AnyRunner(Protocol):
    """Trains runs and gives each when it has ended, ``tick`` being called while it waits."""

    def __call__(
        self, runs: Sequence[PlannedRun], tick: Callable[[], None] = lambda: None
    ) -> Generator[PlannedRun, None, None]:
        """May be called again once all have ended."""


@dataclass(frozen=True)
class Choice:
    """What the command line says of it.

    Attributes:
        executor: one of ``EXECUTORS``.
        share: whether other machines take part, of the executor ``process``.
        slurm: ``KEY=VALUE`` words, of the executor ``slurm``.
        anew: whether runs are set aside and begun anew.
    """

    executor: str = "process"
    share: bool = False
    slurm: tuple[str, ...] = ()
    anew: bool = False

    @property
    def outlives(self) -> bool:
        """Whether trainings go on when the command is ended."""
        return self.executor != "process"

    @property
    def alone(self) -> bool:
        """Whether everything that trains in the comparison's folder belongs to the command."""
        return not self.share and not self.outlives

    def parameters(self) -> dict[str, Any]:
        """What submitit is told for SLURM.

        Raises:
            ComparisonError: what does not go together, mistakes in ``slurm``, and what the executor lacks.
        """
        mistakes = []
        if self.slurm and self.executor != "slurm":
            mistakes.append(f"--slurm is for --executor slurm, got --executor {self.executor}")
        if self.share and self.outlives:
            mistakes.append(
                f"--share is for --executor process, got {self.executor}, whose jobs any machine may wait for"
            )
        if self.share and self.anew:
            mistakes.append("--rerun-changed with --share: have one machine begin without --share, then add the others")
        if mistakes:
            raise ComparisonError("the command line", mistakes)
        parameters = slurm_parameters(self.slurm) if self.executor == "slurm" else {}
        if self.outlives:
            make_cluster(self.executor, Path())  # says what is not there
        return parameters


def make_runner(choice: Choice, processes: Runner, output: Path) -> AnyRunner:
    """The runner that was chosen.

    Args:
        choice: from the command line.
        processes: knows the training's command, how many at a time, and what each gets of this machine.
        output: the comparison's folder.

    Raises:
        ComparisonError: what it needs is not there.
    """
    if choice.share:
        return SharedRunner(processes, Claims())
    if choice.executor == "process":
        return processes
    parameters = choice.parameters()
    cluster = make_cluster(choice.executor, output, processes.jobs, parameters)
    if choice.executor == "slurm":
        return SubmittedRunner(cluster, output, processes.command, grace=max(parameters["signal_delay_s"] - 15.0, 5.0))
    return SubmittedRunner(cluster, output, processes.command, processes.environment, LOCAL_GRACE)


def make_cluster(executor: str, output: Path, at_once: int = 1, parameters: dict[str, Any] | None = None) -> Cluster:
    """Where the jobs of an executor are.

    Raises:
        ComparisonError: submitit is not installed, or this machine has no SLURM.
    """
    if executor == "slurm":
        return SlurmCluster(output, parameters or {}, at_once)
    return LocalCluster(output, at_once)
