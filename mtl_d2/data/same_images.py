"""Images that several training sets list, each with labels of its own."""

from __future__ import annotations

import filecmp
import logging
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from detectron2.structures import BoxMode

from mtl_d2.data.annotated_classes import NOT_ANNOTATED, AnnotatedClasses, annotated_key
from mtl_d2.data.errors import DataError
from mtl_d2.data.objects import is_region
from mtl_d2.data.pictures import copied, picture
from mtl_d2.options import choice, declare
from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.sources import PSEUDO

logger = logging.getLogger(__name__)

KEEP, MERGE, REFUSE = "keep", "merge", "refuse"
SIZE = ("height", "width")

declare(
    "MTL.DATA",
    {
        "SAME_IMAGES": choice(
            KEEP,
            "what becomes of an image that several data sets of DATASETS.TRAIN list: `keep` trains it once for each, "
            "with that one's labels; `merge` makes one sample of it with the labels of all; `refuse` ends with their "
            "number. See docs/unions.md",
            (KEEP, MERGE, REFUSE),
        )
    },
)

Record = dict[str, Any]
Records = Sequence[Record]


@dataclass
class Merged:
    """Training sets of which each image is in one.

    Attributes:
        sets: the records by data set; an image is in the first that lists it, where it stands in that one.
        number: of records that were added to another.
        conflicts: by what is the matter, the files that keep two records from being one.
    """

    sets: dict[str, list[Record]] = field(default_factory=dict)
    number: int = 0
    conflicts: dict[str, list[str]] = field(default_factory=dict)

    def lines(self, drawn_alone: bool) -> Iterator[str]:
        """What cannot be trained, a line each.

        Args:
            drawn_alone: whether each data set is to have samples of its own.
        """
        empty = [name for name, records in self.sets.items() if not records and drawn_alone]
        if empty:
            yield (
                f"MTL.DATA.SAME_IMAGES 'merge' leaves no image to {', '.join(empty)}, as data sets before it list them "
                "all: name it first in DATASETS.TRAIN, or set MTL.DATA.SAMPLING to 'union'"
            )
        for what, files in self.conflicts.items():
            yield (
                f"MTL.DATA.SAME_IMAGES 'merge' cannot make one sample of {len(files)} images, the first is {files[0]}: "
                f"{what}; correct one of the data sets, or set it to 'keep'"
            )


def each_image_as_asked(
    chosen: str, sets: Mapping[str, Records], kinds: Iterable[TaskKind], drawn_alone: bool
) -> Mapping[str, Records]:
    """The training sets as ``MTL.DATA.SAME_IMAGES`` wants them.

    Args:
        chosen: its value.
        sets: records by data set.
        kinds: the tasks whose labels count.
        drawn_alone: whether each data set is to have samples of its own.

    Raises:
        DataError: what it does not take, a line each.
    """
    merged = merge(sets, kinds) if chosen == MERGE else None
    refused = list(merged.lines(drawn_alone)) if merged else _refused(chosen, sets)
    if refused:
        raise DataError("\n".join(refused))
    if merged:
        logger.info("%d images that several data sets list are one sample each, with the labels of all", merged.number)
        return merged.sets
    shared = in_several(sets)
    if shared:
        logger.info(
            "%d images are in several data sets, the first is %s: each of these trains them with its own labels, see "
            "MTL.DATA.SAME_IMAGES", len(shared), shared[0],
        )  # fmt: skip
    return sets


def refused_images(chosen: str, sets: Mapping[str, Records], kinds: Iterable[TaskKind], drawn_alone: bool) -> list[str]:
    """What ``each_image_as_asked`` would refuse, a line each."""
    return list(merge(sets, kinds).lines(drawn_alone)) if chosen == MERGE else _refused(chosen, sets)


def _refused(chosen: str, sets: Mapping[str, Records]) -> list[str]:
    shared = in_several(sets) if chosen == REFUSE else []
    if not shared:
        return []
    return [
        f"MTL.DATA.SAME_IMAGES is 'refuse', and {len(shared)} images are in more than one data set of DATASETS.TRAIN, "
        f"the first is {shared[0]}: take them out of one, or set it to 'merge' or 'keep'"
    ]


def in_several(sets: Mapping[str, Records]) -> list[str]:
    """Files of the images that another data set before lists as well."""
    seen: set[Hashable] = set()
    shared = []
    for records in sets.values():
        images = {identity(r["file_name"]): r["file_name"] for r in records if "image" not in r}
        shared += [images[image] for image in images if image in seen]
        seen.update(images)
    return shared


def identity(file_name: str) -> Hashable:
    """The same for every path to an image, and for its copies that are known."""
    folder, name = os.path.split(file_name)
    return picture(file_name) or copied(file_name) or (_resolved(folder), name)


@cache
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)


def merge(sets: Mapping[str, Records], kinds: Iterable[TaskKind]) -> Merged:
    """Gives the record of an image in the first data set that lists it the labels of the others.

    Args:
        sets: records by data set. Within one of them nothing is merged; nor are images in memory.
        kinds: the tasks whose labels count.
    """
    kinds = tuple(kinds)
    merged = Merged()
    places: dict[Hashable, tuple[str, int]] = {}  # data set and number of the record
    for name, records in sets.items():
        kept: list[Record] = []
        begun: dict[Hashable, tuple[str, int]] = {}
        for record in records:
            image = None if "image" in record else identity(record["file_name"])
            if image in places:
                first, number = places[image]
                merged.sets[first][number] = _one(merged, merged.sets[first][number], record, kinds)
                merged.number += 1
                continue
            if image is not None:
                begun.setdefault(image, (name, len(kept)))
            kept.append(record)
        merged.sets[name] = kept
        places |= begun
    return merged


def _one(merged: Merged, first: Record, second: Record, kinds: Sequence[TaskKind]) -> Record:
    """A record with the labels of both; notes why there is none."""
    if _sizes_differ(first, second):
        merged.conflicts.setdefault("their records have different sizes", []).append(second["file_name"])
        return first
    added: Record = {}
    for kind in kinds:
        keys = (kind.record_key, *kind.file_keys, *kind.reading_keys)
        if kind.record_key in second:
            label = _label(first, second, kind, keys)
            if label is None:
                what = f"two data sets label {kind.task!r} differently"
                merged.conflicts.setdefault(what, []).append(second["file_name"])
            added |= label or {}
        if PSEUDO + kind.record_key not in first:
            added |= {PSEUDO + key: second[PSEUDO + key] for key in keys if PSEUDO + key in second}
    states = {annotated_key(kind.classes_key) for kind in kinds} & added.keys()
    whole = {key for key in states if AnnotatedClasses(added[key]).are_all}  # records do not say so then
    return {key: value for key, value in {**first, **added}.items() if key not in whole}


def _sizes_differ(first: Record, second: Record) -> bool:
    return any(key in first and key in second and first[key] != second[key] for key in SIZE)


def _label(first: Record, second: Record, kind: TaskKind, keys: Sequence[str]) -> Record | None:
    """What the label of ``second`` adds to ``first``, with what belongs to it; None where the two contradict."""
    if kind.record_key not in first:
        return {key: second[key] for key in keys if key in second}
    objects = _objects_of_other_classes(first, second, kind)
    if objects is None:
        return {} if all(_equal(first.get(key), second.get(key)) for key in dict.fromkeys(keys)) else None
    return objects


def _objects_of_other_classes(first: Record, second: Record, kind: TaskKind) -> Record | None:
    """The objects of both, where no class is annotated in both; else None."""
    key = annotated_key(kind.classes_key)
    one, other = first[kind.record_key], second[kind.record_key]
    if not (isinstance(one, list) and isinstance(other, list) and key in first and key in second):
        return None
    states = list(zip(first[key], second[key], strict=True))
    if not all(NOT_ANNOTATED in of_class for of_class in states):
        return None
    return {kind.record_key: [*one, *other], key: bytes(map(max, states))}


def _equal(one: Any, other: Any) -> bool:
    """Whether two labels say the same: objects in any order, files by what they hold."""
    if isinstance(one, list) and isinstance(other, list):
        return _objects(one) == _objects(other)
    if isinstance(one, str) and isinstance(other, str) and one != other:
        return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)
    return bool(one == other)


def _objects(annotations: Iterable[Any]) -> list[str]:
    return sorted(map(repr, map(_object, annotations)))


def _object(annotation: Any) -> Any:
    if not isinstance(annotation, Mapping):
        return annotation
    box = BoxMode.convert(list(map(float, annotation["bbox"])), annotation["bbox_mode"], BoxMode.XYXY_ABS)
    return box, annotation["category_id"], is_region(annotation), annotation.get("segmentation")
