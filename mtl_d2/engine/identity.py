"""Which run a folder belongs to: the one that was begun in it last.

A run that begins writes a new id beside its config, and each of its checkpoints holds it. Checkpoints of an earlier run
in the same folder are then never gone on from by mistake, whenever the new one was ended. Folders and checkpoints from
before there were ids have none, and belong together.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from mtl_d2.files import write_atomically

FILE = "run_id"


def begin_run(folder: Path) -> str:
    """From now on ``folder`` belongs to a new run; gives its id."""
    run = uuid.uuid4().hex
    write_run(folder, run)
    return run


def write_run(folder: Path, run: str) -> None:
    """From now on ``folder`` belongs to ``run``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, run + "\n")


def run_of(folder: Path) -> str | None:
    """The id of the run that ``folder`` belongs to; None if it does not say."""
    try:
        return (folder / FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
