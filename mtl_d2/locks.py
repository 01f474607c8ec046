"""Folders that one command at a time works in; a lock ends with the processes that hold it, however they end."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

LOCK = ".lock"


def lock_folder(folder: Path, name: str = LOCK) -> IO | None:
    """An open file that keeps others out of ``folder`` until all processes that have it open have closed it.

    Args:
        folder: that is there.
        name: of the file in it; those of one name keep each other out.

    Returns:
        None where another process holds it.

    Raises:
        OSError: the folder cannot be written to, or its file system has no locks.
    """
    file = (folder / name).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file


def is_locked(folder: Path) -> bool:
    """Whether a process holds ``folder``."""
    lock = lock_folder(folder)
    if lock is not None:
        lock.close()
    return lock is None
