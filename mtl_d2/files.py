"""Files that are whole whenever somebody looks: the old one or the new one, whatever ends the process that writes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PARTIAL = ".part"  # ends the name of a file that is being written


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a new file beside ``path`` that takes its place, on the disk, once it has been written without an error."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_atomically(path: Path, text: str) -> Path:
    """Writes a text file in one move; returns ``path``."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
    return path


def remove_partial(folder: Path, name: str) -> None:
    """Removes what killed processes left of files whose names match the pattern ``name``, e.g. ``*.pth``."""
    for path in folder.glob(f".{name}.*{PARTIAL}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
