"""Which classes of a list a data set, or one image of it, is annotated for: what of it can be said to be absent.

Metadata say it by names: ``annotated_classes`` of ``thing_classes``, ``annotated_stuff_classes`` of ``stuff_classes``
(with "/NAME" for a named task). Absent = all of them. ``not_exhaustive_classes`` (``not_exhaustive_stuff_classes``) are
annotated, too, but not each of their objects. A record may say it of its own image, as those of LVIS do (Gupta et al.,
LVIS: A dataset for large vocabulary instance segmentation, CVPR 2019, https://arxiv.org/abs/1908.03195, section 3.1):
a class is annotated exhaustively there if it is shown and not among ``not_exhaustive_category_ids``, or if it is among
``neg_category_ids``; of any other class nothing is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.data.catalog import Metadata
from torch import Tensor

from mtl_d2.config_checks.sentences import the_first
from mtl_d2.data.errors import DataError

NOT_ANNOTATED, NOT_EXHAUSTIVE, EXHAUSTIVE = range(3)  # states of a class
OTHER_CLASS = "other_class"  # of metadata: the name, of a record and a sample: the id of "background" in label maps
NEGATIVE_IDS, NOT_EXHAUSTIVE_IDS = "neg_category_ids", "not_exhaustive_category_ids"  # of a record


@dataclass(frozen=True)
class AnnotatedClasses:
    """The state of each class id of a list.

    Attributes:
        states: C bytes. ``EXHAUSTIVE``: where no annotation is, there is none of the class. ``NOT_EXHAUSTIVE``: an
            annotation is one of the class, and the rest may be or not. ``NOT_ANNOTATED``: nothing is known of it.
    """

    states: bytes

    @property
    def are_all(self) -> bool:
        """Whether every class is annotated exhaustively, as data sets are that do not say otherwise."""
        return set(self.states) <= {EXHAUSTIVE}

    def ids(self, state: int) -> set[int]:
        """The ids of classes in ``state``."""
        return {i for i, of_class in enumerate(self.states) if of_class == state}


def annotated_key(classes_key: str) -> str:
    """Of metadata, a record (``AnnotatedClasses.states``) and a sample (bool (C,)), for the list ``classes_key``."""
    return f"annotated_{classes_key.removeprefix('thing_')}"


def not_exhaustive_key(classes_key: str) -> str:
    """Of metadata: the names of classes of the list ``classes_key`` that are not annotated exhaustively."""
    return f"not_exhaustive_{classes_key.removeprefix('thing_')}"


def other_key(classes_key: str) -> str:
    """Of metadata, the name, of a record and a sample, the id of the class of pixels that may hide others."""
    return OTHER_CLASS + classes_key.removeprefix("stuff_classes")


def annotated_classes(metadata: Metadata, classes_key: str = "thing_classes") -> AnnotatedClasses:
    """What a data set says of the classes of its list ``classes_key``.

    Raises:
        DataError: it names a class that is not in the list, or of which all its names say nothing.
    """
    names = list(map(str, metadata.get(classes_key) or ()))
    mistakes = list(wrong_names(metadata, classes_key))
    if mistakes:
        raise DataError("\n".join(f"{metadata.get('name')}: {line}" for line in mistakes))
    annotated, partly = (metadata.get(key(classes_key)) for key in (annotated_key, not_exhaustive_key))
    annotated, partly = set(names if annotated is None else annotated), set(partly or ())
    return AnnotatedClasses(
        bytes(NOT_EXHAUSTIVE if n in partly else EXHAUSTIVE if n in annotated else NOT_ANNOTATED for n in names)
    )


def of_image(record: Mapping[str, Any], of_set: AnnotatedClasses, metadata: Metadata) -> AnnotatedClasses:
    """What a record says of the ``thing_classes`` of its image; ``of_set`` where it says nothing.

    Args:
        record: with class ids in its ``annotations``. Its lists of ids have those of the data set's own files, which
            ``thing_dataset_id_to_contiguous_id`` of metadata maps; without it they count from 1, as LVIS's do.
        of_set: what its data set says.
        metadata: of the data set.

    Raises:
        DataError: an id stands for no class.
    """
    stated = record.get(annotated_key("thing_classes"))
    if stated is not None:
        return AnnotatedClasses(stated)
    if NEGATIVE_IDS not in record and NOT_EXHAUSTIVE_IDS not in record:
        return of_set
    states = bytearray(of_set.states)
    if NEGATIVE_IDS in record:
        states = bytearray([NOT_ANNOTATED]) * len(of_set.states)
        classes = range(len(states))  # another id is refused elsewhere
        for i in _shown(record) | _listed(record, NEGATIVE_IDS, metadata, len(states)):
            if i in classes:
                states[i] = of_set.states[i]
    for i in _listed(record, NOT_EXHAUSTIVE_IDS, metadata, len(states)):
        states[i] = NOT_EXHAUSTIVE
    return AnnotatedClasses(bytes(states))


def shown_and_denied(record: Mapping[str, Any], metadata: Metadata) -> set[int]:
    """Classes of which an image has an annotation, and says by ``neg_category_ids`` that it shows none.

    Args:
        record: as ``of_image`` has it, with its lists of ids.
        metadata: of its data set.
    """
    if NEGATIVE_IDS not in record:
        return set()
    return _listed(record, NEGATIVE_IDS, metadata, len(metadata.get("thing_classes") or ())) & _shown(record)


def _shown(record: Mapping[str, Any]) -> set[int]:
    return {annotation["category_id"] for annotation in record.get("annotations") or ()}


def _listed(record: Mapping[str, Any], key: str, metadata: Metadata, classes: int) -> set[int]:
    """Which of so many classes a list of a record names, by their ids in the data set's files."""
    given = record.get(key)
    if given is None:
        return set()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{record.get('file_name')}: `{key}` must be a list of ids of classes, got {given!r}")
    mapping = metadata.get("thing_dataset_id_to_contiguous_id")
    ids = list(given)
    known = range(1, classes + 1) if mapping is None else mapping
    unknown = [i for i in ids if i not in known]
    if unknown:
        raise DataError(
            f"{record.get('file_name')}: `{key}` has {unknown[0]!r}, which is the id of no class: ids are those of its "
            "annotation file, `thing_dataset_id_to_contiguous_id` of the metadata, or else counted from 1; they are "
            f"{the_first(list(map(repr, known)), 10)}"
        )
    return {i - 1 if mapping is None else mapping[i] for i in ids}


def annotated_mask(states: bytes) -> Tensor:
    """(C,) bool, for a sample: the classes that are annotated exhaustively."""
    return torch.tensor(list(states)) == EXHAUSTIVE


def with_states(records: Iterable[dict[str, Any]], metadata: Metadata, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """``records``, each with the states of the classes of its labels where not all are annotated exhaustively.

    Args:
        records: of a data set.
        metadata: of it.
        keys: from the list of classes ("thing_classes", ...) to the key of records with labels of it.

    Raises:
        DataError: metadata or a record name what is no class.
    """
    of_set = {classes_key: annotated_classes(metadata, classes_key) for classes_key in keys}
    return [_with_state(record, of_set, metadata, keys) for record in records]


def _with_state(
    record: dict[str, Any], of_set: Mapping[str, AnnotatedClasses], metadata: Metadata, keys: Mapping[str, str]
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for classes_key, of_list in of_set.items():
        if keys[classes_key] not in record:
            continue
        stated = of_image(record, of_list, metadata) if classes_key == "thing_classes" else of_list
        if not stated.are_all:
            said[annotated_key(classes_key)] = stated.states
            said |= other_class(metadata, classes_key)
    return {**record, **said} if said else record


def other_class(metadata: Metadata, classes_key: str) -> dict[str, int]:
    """The id of the class of pixels that may hide others, by its key of a record, where metadata name it.

    Raises:
        DataError: it is none of the classes.
    """
    key = other_key(classes_key)
    name = metadata.get(key)
    if name is None or classes_key == "thing_classes":
        return {}
    names = list(map(str, metadata.get(classes_key) or ()))
    if name not in names:
        raise DataError(
            f"{metadata.get('name')}: `{key}` in its metadata is {name!r}, which is none of its "
            f"`{classes_key}`{nearest(name, names)}"
        )
    return {key: names.index(name)}


def wrong_names(metadata: Metadata, classes_key: str) -> Iterator[str]:
    """A line for each list of annotated classes that names what is no class of the data set, or nothing at all."""
    names = list(map(str, metadata.get(classes_key) or ()))
    for key in (annotated_key(classes_key), not_exhaustive_key(classes_key)):
        given = metadata.get(key)
        if given is None:
            continue
        if isinstance(given, str) or not isinstance(given, Iterable):
            yield f"`{key}` in its metadata must be a list of names of classes, got {given!r}"
            continue
        yield from (
            f"`{key}` in its metadata has {name!r}, which is none of its `{classes_key}`{nearest(name, names)}"
            for name in given
            if name not in names
        )
        if key == annotated_key(classes_key) and not list(given) and not metadata.get(not_exhaustive_key(classes_key)):
            yield f"`{key}` in its metadata is empty: name what it is annotated for, or leave the key out for all"


def nearest(name: object, known: Sequence[str]) -> str:
    """A question for the name that may be meant, or nothing."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f": they are {', '.join(map(repr, known[:10]))}"
