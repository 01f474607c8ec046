"""Which job a run has been handed over as: a file beside the run, so that a later command finds the job."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mtl_d2.files import write_atomically

FILE = "job.json"


@dataclass(frozen=True)
class JobRecord:
    """A job that was submitted for a run.

    Attributes:
        executor: that has it.
        job: its id there.
        host: that submitted it.
        place: which of the places for jobs at a time it has, from 0; it decides on the GPU.
        checkpoint: what the run would have gone on from when it was submitted, "" = its beginning.
        cancelled: whether a user has ended it.
    """

    executor: str
    job: str
    host: str
    place: int = 0
    checkpoint: str = ""
    cancelled: bool = False


def read_record(folder: Path) -> JobRecord | None:
    """The job of a run; None if it has none, or had one that has been dealt with."""
    try:
        return JobRecord(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, record: JobRecord) -> None:
    """Leaves the record in the run's folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(asdict(record), indent=1))


def forget(folder: Path) -> None:
    """The job of a run has been dealt with."""
    (folder / FILE).unlink(missing_ok=True)


def recorded(output: Path) -> Iterator[tuple[Path, JobRecord]]:
    """All runs below a comparison's folder that have a job, with their folders."""
    for path in sorted(output.rglob(FILE)):
        record = read_record(path.parent)
        if record is not None:
            yield path.parent, record


def here() -> str:
    """This machine's name, as records have it."""
    return socket.gethostname()
