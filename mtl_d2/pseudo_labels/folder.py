"""A folder of pseudo labels, as a training reads it. ``docs/pseudo_labels.md`` has its format."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from mtl_d2.data.checks.classes import class_difference
from mtl_d2.data.errors import DataError
from mtl_d2.data.file_digests import digest_of_file
from mtl_d2.data.listing import Listing, Paths
from mtl_d2.data.once import warn_once
from mtl_d2.pseudo_labels.form import Fields, Form
from mtl_d2.pseudo_labels.image_names import image_name
from mtl_d2.pseudo_labels.manifest import Manifest, read_manifest, unreadable
from mtl_d2.pseudo_labels.places import files_folder, labels_file
from mtl_d2.pseudo_labels.weights import changed_weights
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import is_known, kind_of, kinds_of
from mtl_d2.tasks.sources import PSEUDO

Record = dict[str, Any]

logger = logging.getLogger(__name__)


def tasks_in(folder: str | Path, dataset: str, tasks: Iterable[str]) -> tuple[str, ...]:
    """Those of ``tasks`` that a folder has labels of ``dataset`` for.

    Raises:
        DataError: it is no folder of pseudo labels.
    """
    manifest = read_manifest(Path(folder))
    return tuple(kind.task for kind in kinds_of(tasks) if any(_serving(manifest, dataset, kind)))


def attach(
    records: Sequence[Record],
    dataset: str,
    folder: str | Path,
    tasks: Iterable[str],
    classes: Mapping[str, Sequence[str]] | None = None,
) -> list[Record]:
    """Copies of records with a teacher's labels, under the keys of true ones with ``PSEUDO`` before them.

    Records of images that the teacher did not see stay as they are, with one warning that counts them.

    Args:
        records: all or some of a data set.
        dataset: its name, the one that the labels were made under.
        folder: that ``tools/pseudo_label.py`` wrote; it may lack labels of some tasks, or of this data set.
        tasks: of the student.
        classes: what the student's ids stand for, as ``trained_classes`` gives it; by default those of ``dataset``.

    Raises:
        DataError: it is no folder of pseudo labels, its labels are not finished or not readable, or they have other
            classes than the student; or none of the images is among them.
    """
    folder = Path(folder)
    manifest, tasks = read_manifest(folder), tuple(tasks)
    sources = _sources(manifest, dataset, tasks)
    lines = list(unusable(folder, dataset, tasks, classes))
    if lines:
        raise DataError("\n".join(lines))
    for line in changed_weights(folder, {source.task: manifest[source.task].teacher for source in sources}):
        warn_once(logger, line)
    for source in sources:
        records = _with_fields(records, dataset, source, _read(folder, dataset, source))
    return list(records)


def _serving(manifest: Manifest, dataset: str, kind: TaskKind) -> Iterable[TaskKind]:
    """The task of a folder that is a student's, else those whose labels hold its: masks have boxes around them."""
    there = [task for task, labels in manifest.items() if dataset in labels.datasets and serves(task, kind)]
    return map(kind_of, [kind.task] if kind.task in there else there)


def serves(task: str, kind: TaskKind) -> bool:
    """Whether labels of ``task`` are, or hold, those of ``kind``."""
    return is_known(task) and isinstance(kind_of(task), type(kind)) and kind_of(task).sample_key == kind.sample_key


def _sources(manifest: Manifest, dataset: str, tasks: Iterable[str]) -> list[TaskKind]:
    """The tasks of a folder whose labels of a data set a student's tasks learn from."""
    return first_of_each(source for kind in kinds_of(tasks) for source in _serving(manifest, dataset, kind))


def unusable(
    folder: str | Path, dataset: str, tasks: Iterable[str], classes: Mapping[str, Sequence[str]] | None = None
) -> Iterator[str]:
    """A line for each task whose labels of a data set are not finished, or of other classes than the student's.

    Args:
        folder: of pseudo labels.
        dataset: its name.
        tasks: of the student.
        classes: see ``attach``.

    Raises:
        DataError: it is no folder of pseudo labels.
    """
    manifest = read_manifest(Path(folder))
    for source in _sources(manifest, dataset, tasks):
        labels = manifest[source.task]
        if labels.datasets[dataset] is None:
            yield (
                f"{folder}: the labels of {dataset} for task {source.task!r} are not finished: give the command of "
                "tools/pseudo_label.py again, which goes on with them"
            )
        own = source.class_names(dataset) if classes is None else classes.get(source.classes_key, ())
        difference = class_difference(labels.classes, list(map(str, own)))
        if difference:
            yield (
                f"{folder}: the teacher of task {source.task!r} has other `{source.classes_key}` than the student on "
                f"{dataset}, {difference}: train the teacher with the student's list of classes"
            )


def digest(folder: str | Path, datasets: Iterable[str], tasks: Iterable[str]) -> str:
    """Of what a training gets of a folder, but for the pixels of maps; what else is in the folder does not count.

    Args:
        folder: of pseudo labels.
        datasets: names of training sets.
        tasks: of the student.

    Raises:
        DataError, OSError: it cannot be read.
    """
    folder, tasks = Path(folder), tuple(tasks)
    manifest = read_manifest(folder)
    parts = [
        (
            dataset,
            source.task,
            manifest[source.task].teacher.sha256,
            digest_of_file(labels_file(folder, dataset, source.task)),
        )
        for dataset in sorted(set(datasets))
        for source in _sources(manifest, dataset, tasks)
    ]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _read(folder: Path, dataset: str, source: TaskKind) -> dict[str, tuple[tuple[int, int], Fields]]:
    """By image: height and width, and what its record gets.

    Raises:
        DataError: the JSON cannot be read, or a file that it names is not there.
    """
    path, form = labels_file(folder, dataset, source.task), form_of(source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fields = form.fields(content, files_folder(folder, dataset, source.task))
        sizes = {image["file_name"]: (int(image["height"]), int(image["width"])) for image in content["images"]}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(unreadable(path, error)) from error
    absent = Listing().absent(Paths(form.files(fields.values())))
    if absent:
        raise DataError(
            f"{path} names {len(absent)} files that are not there, the first is {absent[0]}: restore them, or delete "
            f"{path.name} and give the command of tools/pseudo_label.py again"
        )
    return {name: (sizes[name], of_image) for name, of_image in fields.items()}


def form_of(kind: TaskKind) -> Form:
    """The form of a task's pseudo labels.

    Raises:
        DataError: its kind has none.
    """
    form = kind.pseudo_labels()
    if form is None:
        raise DataError(f"task {kind.task!r} has no pseudo labels: its kind has no method `pseudo_labels`")
    return form


def _with_fields(
    records: Sequence[Record], dataset: str, source: TaskKind, labels: Mapping[str, tuple[tuple[int, int], Fields]]
) -> list[Record]:
    made: list[Record] = []
    absent: list[str] = []
    for record in records:
        size, fields = labels.get(image_name(record["file_name"]), (None, {}))
        if size is None:
            absent.append(record["file_name"])
        elif (record.get("height") or size[0], record.get("width") or size[1]) != size:
            raise DataError(
                f"{record['file_name']}: height and width are {record.get('height')} and {record.get('width')}, but "
                f"its pseudo labels for task {source.task!r} are of {size}: label {dataset} again"
            )
        made.append({**record, **{PSEUDO + key: value for key, value in fields.items()}} if fields else record)
    if absent:
        line = f"{dataset}: {len(absent)} of {len(records)} images have no pseudo labels for task {source.task!r}"
        if len(absent) == len(records):
            raise DataError(
                f"{line}, the first is {absent[0]}: label the images that are trained on, or set $DETECTRON2_DATASETS "
                "as it was then"
            )
        warn_once(logger, f"{line}, the first is {absent[0]}: they are trained on without them")
    return made
