"""Files that are whole whenever somebody looks: the old one or the new one, whatever ends the process that writes."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PARTIAL = ".part"  # ends the name of a file that is being written
# Why a disk takes no more: full, over a quota or a limit of size, or mounted to be read only.
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class WriteError(OSError):
    """A file could not be written; what stood in its place is whole."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a new file beside ``path`` that takes its place, on the disk, once it has been written without an error.

    Raises:
        WriteError: the disk does not take it.
    """
    with naming(path):
        yield from _replacing(path)


def _replacing(path: Path) -> Iterator[IO[bytes]]:
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What goes wrong while ``path`` is written says that it is this file.

    Raises:
        WriteError: the disk does not take it.
    """
    try:
        yield
    except WriteError:
        raise
    except (OSError, RuntimeError) as error:  # torch.save has an error of its own, raised while it handles the disk's
        cause = _disk_error(error)
        if cause is None:
            raise
        raise WriteError(f"{path} could not be written: {(cause.strerror or str(cause)).lower()}") from error


def refusal(error: BaseException) -> str:
    """A sentence if ``error`` is a disk's that takes no more; empty if it is another."""
    if isinstance(error, WriteError):
        return str(error)
    cause = _disk_error(error)
    if cause is None or cause.errno not in _REFUSED:
        return ""
    return f"{cause.filename or 'a file'} could not be written: {str(cause.strerror).lower()}"


def _disk_error(error: BaseException | None) -> OSError | None:
    """The first ``OSError`` among an error, what caused it and what it was raised in the handling of."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


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
