"""Whether the files of the teachers are those that made the labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from mtl_d2.pseudo_labels.manifest import Teacher


def file_digest(path: Path) -> str:
    """The sha256 of a file, of which each state is read once in a process."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def changed_weights(folder: Path, teachers: Mapping[str, Teacher]) -> Iterator[str]:
    """A line for each task whose teacher's weights are still at their path, and are others now.

    Args:
        folder: with the labels.
        teachers: by task.
    """
    for task, teacher in teachers.items():
        path = Path(teacher.weights)
        if path.is_file() and file_digest(path) != teacher.sha256:
            yield (
                f"{folder}: the labels of task {task!r} were made by other weights than {path} now has: label anew "
                "into another folder, or give the earlier weights their name back"
            )
