"""Whether the files of the teachers are those that made the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mtl_d2.data.file_digests import digest_of_file
from mtl_d2.pseudo_labels.manifest import Teacher


def changed_weights(folder: Path, teachers: Mapping[str, Teacher]) -> Iterator[str]:
    """A line for each task whose teacher's weights are still at their path, and are others now.

    Args:
        folder: with the labels.
        teachers: by task.
    """
    for task, teacher in teachers.items():
        path = Path(teacher.weights)
        if path.is_file() and digest_of_file(path) != teacher.sha256:
            yield (
                f"{folder}: the labels of task {task!r} were made by other weights than {path} now has: label anew "
                "into another folder, or give the earlier weights their name back"
            )
