"""Folders that one command at a time works in; a lock ends with the processes that hold it, however they end."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

LOCK = ".lock"


def lock_folder(folder: Path) -> IO | None:
    """An open file that keeps others out of ``folder`` until all processes that have it open have closed it."""
    file = (folder / LOCK).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def is_locked(folder: Path) -> bool:
    """Whether a process holds ``folder``."""
    lock = lock_folder(folder)
    if lock is not None:
        lock.close()
    return lock is None
