"""A data set in parts, each of which is written in one move: what is there is whole, and need not be made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_d2.data.errors import DataError
from mtl_d2.files import write_atomically
from mtl_d2.pseudo_labels.form import Entry, Form
from mtl_d2.pseudo_labels.manifest import unreadable
from mtl_d2.pseudo_labels.places import files_folder, labels_file, parts_folder
from mtl_d2.tasks.base import TaskKind

SIZE = 32  # images of a part: what a kill costs


@dataclass(frozen=True)
class Target:
    """Where the labels of one task of one data set go.

    Attributes:
        kind: the task.
        form: of its labels.
        file: the JSON of all of them.
        files: the folder of what they have beside it.
        parts: the folder of the JSONs of parts.
    """

    kind: TaskKind
    form: Form
    file: Path
    files: Path
    parts: Path

    def part(self, part: range) -> Path:
        """The JSON of a part."""
        return self.parts / f"{part.start:08}.json"

    def write_part(self, part: range, entries: Sequence[Entry]) -> None:
        """Writes what the images of a part have."""
        write_atomically(self.part(part), json.dumps(entries))

    def finish(self, images: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
        """Makes one JSON of those of all parts; gives how many images there are, and what they show.

        Args:
            images: names of all images, in the order of the records.
            classes: names by id.

        Raises:
            DataError: a part is broken, or of other images.
        """
        entries: list[Entry] = []
        for part in parts_of(len(images)):
            path = self.part(part)
            try:
                entries += json.loads(path.read_text(encoding="utf-8"))
                names = [entry["file_name"] for entry in entries[part.start :]]
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise DataError(unreadable(path, error)) from error
            if names != list(images[part.start : part.stop]):
                raise DataError(
                    f"{path} has labels of other images: the data set has changed since they were made. Delete "
                    f"{self.parts} and {self.files}, and label it anew"
                )
        write_atomically(self.file, json.dumps(self.form.content(entries, classes)))
        return {"images": len(entries), **self.form.counts(entries)}

    def remove_parts(self) -> None:
        """Once the manifest says that the labels are finished."""
        shutil.rmtree(self.parts, ignore_errors=True)


def target_of(folder: Path, dataset: str, kind: TaskKind, form: Form) -> Target:
    """Where the labels of a task of a data set go; the folders are made."""
    task = kind.task
    target = Target(kind, form, *(place(folder, dataset, task) for place in (labels_file, files_folder, parts_folder)))
    target.parts.mkdir(parents=True, exist_ok=True)
    if form.has_files:
        target.files.mkdir(exist_ok=True)
    return target


def parts_of(images: int) -> list[range]:
    """The numbers of a data set's images, part by part."""
    return [range(start, min(start + SIZE, images)) for start in range(0, images, SIZE)]


def missing_parts(images: int, targets: Sequence[Target]) -> list[range]:
    """The parts that one of the targets lacks."""
    return [part for part in parts_of(images) if not all(target.part(part).is_file() for target in targets)]
