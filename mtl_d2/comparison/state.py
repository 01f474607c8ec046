"""What a run's folder says of how far it has come."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from mtl_d2.files import write_atomically
from mtl_d2.report.file_names import METRICS

CONFIG = "comparison.yaml"  # the whole config that a run was started with
OUTCOME = "outcome.json"
CONSOLE = "console.log"
TAIL = 1 << 16  # bytes at the end of a file that its last line is looked for in

FINISHED, FAILED, INTERRUPTED, NEW = "finished", "failed", "interrupted", "not started"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: FINISHED, FAILED, INTERRUPTED (it goes on from its last checkpoint) or NEW.
        reason: why it is not finished; the message of the error.
        memory: peak resident memory of its process in bytes, 0 = unknown.
        seconds: wall time of its processes, evaluation and start included, 0 = unknown.
    """

    state: str
    reason: str = ""
    memory: int = 0
    seconds: float = 0.0


def read_outcome(folder: Path) -> Outcome:
    """The outcome that was written, else INTERRUPTED where something was started."""
    try:
        return Outcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        started = (folder / CONFIG).exists()
        return Outcome(INTERRUPTED, "under way, or stopped from outside") if started else Outcome(NEW)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Leaves the outcome in the run's folder."""
    write_atomically(folder / OUTCOME, json.dumps(asdict(outcome), indent=1))


def changes(folder: Path, config: str) -> list[str]:
    """Where the config that a run was started with differs from ``config``, ``KEY old -> new``.

    Keys that only one of them has are left out: another version of the program may have added them.
    """
    from mtl_d2.config import leaves  # seconds of imports, which jobs on a cluster do not need

    try:
        before = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return []
    old, new = dict(leaves(before or {})), dict(leaves(yaml.safe_load(config)))
    return [
        f"{key} {old[key]} -> {value}"
        for key, value in new.items()
        if key in old and old[key] != value and key != "OUTPUT_DIR"
    ]


def set_aside(folder: Path) -> Path:
    """Renames a run's folder, so that the run begins anew and nothing is lost; returns the new place."""
    places = (folder.with_name(f"{folder.name}.old{i}") for i in range(1, 10_000))
    place = next(path for path in places if not path.exists())
    return folder.rename(place)


def updates_done(folder: Path) -> int:
    """Updates up to the last row of the log."""
    for line in reversed(_last_lines(folder / METRICS)):
        try:
            return int(json.loads(line)["iteration"]) + 1
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def error_of(folder: Path, code: int, start: int = 0) -> str:
    """What a failed process said last: its ``error: ...`` line, else the last line of its output.

    Args:
        folder: of the run.
        code: the process's exit status.
        start: where its own output begins in the run's console.log, bytes: earlier processes wrote what is before.
    """
    lines = [line.strip() for line in _last_lines(folder / CONSOLE, start) if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (told or lines or [f"exit status {code}"])[-1]


def _last_lines(path: Path, start: int = 0) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - TAIL, start))
            return file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
