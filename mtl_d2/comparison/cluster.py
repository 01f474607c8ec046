"""Where jobs run: this machine or a SLURM cluster, both by submitit, so that they outlive whoever submits them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.job import RunJob

FOLDER = "_jobs"  # of submitit's files, in the comparison's folder
YEAR = 365 * 24 * 60  # minutes
TIMEOUTS = 1000  # of one job; a job that does not come as far as a checkpoint is not queued again anyway
CANCELLED = "CANCELLED"  # how SLURM's word begins for what a user has ended


class Cluster(Protocol):
    """A place for jobs.

    Attributes:
        name: of the executor, in the command line and beside the runs.
        at_once: jobs that may be handed over and not ended, None where the scheduler itself keeps to a limit.
        period: seconds between two looks at the jobs.
    """

    name: str
    at_once: int | None
    period: float

    def submit(self, jobs: Sequence[RunJob]) -> list[str]:
        """Hands jobs over; gives their ids, in the same order."""

    def state(self, job: str) -> str:
        """What has become of a job, in words; "" while it waits or runs."""

    def cancel(self, job: str) -> None:
        """Has a job end; its training may still be writing a checkpoint afterwards."""


class LocalCluster:
    """Jobs as processes of this machine, by submitit's local executor."""

    name = "local"
    period = 0.5

    def __init__(self, output: Path, at_once: int) -> None:
        """Nothing is submitted yet.

        Args:
            output: the comparison's folder.
            at_once: jobs at a time.

        Raises:
            ComparisonError: submitit is not installed.
        """
        self.folder = (output / FOLDER).resolve()
        self.at_once: int | None = at_once
        _submitit(self.name)

    def submit(self, jobs: Sequence[RunJob]) -> list[str]:
        """Starts a process for each job."""
        executor = _submitit(self.name).LocalExecutor(self.folder, max_num_timeout=TIMEOUTS)
        executor.update_parameters(timeout_min=YEAR)
        # Blocked signals stay blocked in what is started: a terminal's Ctrl-C, or its end, is not for the jobs.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
        try:
            return [executor.submit(job).job_id for job in jobs]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def state(self, job: str) -> str:
        """A job is its first process, which is known by what it was called with."""
        words = _command_line(int(job))
        return "" if "submitit.local._local" in words and str(self.folder) in words else "ENDED"

    def cancel(self, job: str) -> None:
        """SIGTERM, which is passed on to the training."""
        if not self.state(job):
            with suppress(ProcessLookupError):
                os.kill(int(job), signal.SIGTERM)


class SlurmCluster:
    """Jobs of SLURM: one array for all that are submitted together."""

    name = "slurm"
    at_once: int | None = None
    period = 5.0

    def __init__(self, output: Path, parameters: Mapping[str, Any], at_once: int) -> None:
        """Nothing is submitted yet.

        Args:
            output: the comparison's folder, which all machines see.
            parameters: submitit's for SLURM, from ``slurm_parameters``.
            at_once: tasks of an array that SLURM runs at a time.

        Raises:
            ComparisonError: submitit is not installed, or this machine has no SLURM.
        """
        self.folder = (output / FOLDER).resolve()
        self.parameters = {**parameters, "array_parallelism": at_once}
        self._handles: dict[str, Any] = {}  # kept: accounting is asked at once for each that is made
        _submitit(self.name)
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            why = "this machine has no sbatch and srun; give the command where jobs are submitted, a login node"
            raise ComparisonError("--executor slurm", [why])

    def submit(self, jobs: Sequence[RunJob]) -> list[str]:
        """An array, or a single job.

        Raises:
            ComparisonError: SLURM refuses them.
        """
        submitit = _submitit(self.name)
        executor = submitit.SlurmExecutor(self.folder, max_num_timeout=TIMEOUTS)
        executor.update_parameters(**self.parameters)
        try:
            with executor.batch():
                submitted = [executor.submit(job) for job in jobs]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise ComparisonError("--executor slurm", [f"sbatch: {lines[-1] if lines else error}"]) from error
        return [job.job_id for job in submitted]

    def state(self, job: str) -> str:
        """As accounting has it, unless the job has left a result."""
        if job not in self._handles:
            self._handles[job] = _submitit(self.name).SlurmJob(self.folder, job)
        handle = self._handles[job]
        return str(handle.state) if handle.done() else ""

    def cancel(self, job: str) -> None:
        """SIGTERM to all processes of the job, and SIGKILL after SLURM's KillWait."""
        subprocess.run(["scancel", job], check=False, capture_output=True)


def _submitit(name: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        why = 'submitit is not installed: pip install -e ".[cluster]", or "submitit>=1.5.4,<2"'
        raise ComparisonError(f"--executor {name}", [why]) from error
    return submitit


def _command_line(process: int) -> list[str]:
    """The words that a process was started with; none if it has ended."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return []
    told = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return told.stdout.split()
