"""Which classes data sets are annotated for, each by itself and all that train together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.config_checks.sentences import the_first
from mtl_d2.data.annotated_classes import (
    EXHAUSTIVE,
    NEGATIVE_IDS,
    NOT_ANNOTATED,
    NOT_EXHAUSTIVE,
    OTHER_CLASS,
    AnnotatedClasses,
    annotated_classes,
    annotated_key,
    not_exhaustive_key,
    of_image,
    other_class,
    other_key,
    shown_and_denied,
    wrong_names,
)
from mtl_d2.data.class_mapping import SYNONYMS
from mtl_d2.data.errors import DataError

LISTS = ("thing_classes", "stuff_classes")
KEYS = (*(of(listed) for listed in LISTS for of in (annotated_key, not_exhaustive_key)), OTHER_CLASS, SYNONYMS)


def wrong_lists(metadata: Metadata, classes_key: str) -> list[str]:
    """Names that are no classes of the data set; see ``wrong_names``."""
    return list(wrong_names(metadata, classes_key)) if metadata.get(classes_key) else []


def absent_classes(metadata: Metadata, classes_key: str) -> frozenset[int]:
    """Ids of classes of pixels that a data set says it is not annotated for, but for the one that may hide others."""
    if wrong_lists(metadata, classes_key):
        return frozenset()
    absent = annotated_classes(metadata, classes_key).ids(NOT_ANNOTATED)
    names, other = list(map(str, metadata.get(classes_key) or ())), metadata.get(other_key(classes_key))
    return frozenset(i for i in absent if names[i] != other)


def annotated_all_the_same(metadata: Metadata, records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Objects of classes that their data set, or their image, is said not to be annotated for."""
    names = list(map(str, metadata.get("thing_classes") or ()))
    if wrong_lists(metadata, "thing_classes") or not names:
        return
    of_set, count, first = annotated_classes(metadata), 0, ""
    for record in records:
        try:
            stated = of_image(record, of_set, metadata)
        except DataError as error:
            yield str(error)
            return
        shown = [a["category_id"] for a in record.get("annotations") or ()]
        wrong = [i for i in shown if stated.states[i] == NOT_ANNOTATED]
        if wrong:
            first = first or f"{record.get('file_name')}: a {names[wrong[0]]!r}"
            count += len(wrong)
    if count:
        yield (
            f"{count} of its annotations are of classes that `annotated_classes` in its metadata leaves out, the first "
            f"is {first}: name the class there, under `not_exhaustive_classes` if others are missing, or drop them"
        )


def stated_of_images(metadata: Metadata, records: Sequence[Mapping[str, Any]]) -> set[AnnotatedClasses]:
    """All that is said of images with ``annotations``, each once; nothing where what is said is wrong."""
    if wrong_lists(metadata, "thing_classes"):
        return set()
    of_set = annotated_classes(metadata)
    try:
        return {of_image(record, of_set, metadata) for record in records if "annotations" in record}
    except DataError:
        return set()


def exhaustive_in_all(stated: Iterable[AnnotatedClasses]) -> set[int]:
    """Ids of the classes of which every image has all objects annotated."""
    return set.intersection(*(of_image.ids(EXHAUSTIVE) for of_image in stated)) if stated else set()


def without_background(stated: Iterable[set[AnnotatedClasses]], rpn: Mapping[str, Any]) -> Iterator[str]:
    """Training sets of which an RPN learns no background, as none of their images is annotated for all classes.

    Args:
        stated: of the training sets, as ``stated_of_images`` has it.
        rpn: ``cfg.MODEL.RPN``.
    """
    of_sets = list(stated)
    if rpn.get("PARTIAL_NEGATIVES") == "ignore" and all(of_sets) and not any(s.are_all for of in of_sets for s in of):
        yield (
            "MODEL.RPN.PARTIAL_NEGATIVES is 'ignore', but no image of the training sets is annotated for all classes: "
            "an RPN learns of none what is no object; set it to 'background', or add such images"
        )


def denied_all_the_same(metadata: Metadata, records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Images that show a class which they list among those that they do not show."""
    names = list(map(str, metadata.get("thing_classes") or ()))
    denied = [(r.get("file_name"), ids) for r in records if (ids := shown_and_denied(r, metadata))]
    if denied:
        file, ids = denied[0]
        yield (
            f"{len(denied)} images have an annotation of a class that their `{NEGATIVE_IDS}` says is not there, the "
            f"first is {file}: {names[min(ids)]!r}; look whether the list has the ids of the annotation file"
        )


def unread_keys(metadata: Metadata) -> Iterator[str]:
    """Keys of metadata that are nearly one that says what is annotated, and would be left out without a word."""
    for key in metadata.as_dict():
        name, slash, own_name = str(key).partition("/")
        near = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.8)
        if near and name not in KEYS:
            yield f"`{key}` in its metadata is read by nothing; is {near[0] + slash + own_name!r} meant?"


def wrong_other_class(metadata: Metadata, classes_key: str, option: str, smoothing: float) -> Iterator[str]:
    """A class of pixels that may hide others which is none, or which the loss cannot have.

    Args:
        metadata: of the data set.
        classes_key: of the list of classes.
        option: the config key of ``smoothing``.
        smoothing: the share of each pixel's target that is spread over all classes.
    """
    try:
        hides = other_class(metadata, classes_key)
    except DataError as error:
        yield str(error).partition(": ")[2]
        return
    if not hides or smoothing == 0 or wrong_lists(metadata, classes_key):
        return
    if not annotated_classes(metadata, classes_key).are_all:
        yield (
            f"its pixels of `{other_key(classes_key)}` may be of several classes, for which {option} {smoothing} is "
            "not defined: set it to 0.0"
        )


def nowhere_annotated(
    sets: Mapping[str, Sequence[Mapping[str, Any]]], classes_key: str, tasks: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Classes that no training set teaches, and those of which none teaches what they are not.

    Args:
        sets: by name, the records of the training sets that are labelled for ``tasks``, as ``with_states`` gives them.
        classes_key: of their list of classes.
        tasks: which share the list.

    Yields:
        "" and what keeps the run from training, or a data set and what it is warned of.
    """
    names = list(sets)
    states = [_states(name, classes_key) for name in names]
    classes = list(map(str, MetadataCatalog.get(names[0]).get(classes_key) or ()))
    if not classes or any(s is None or len(s.states) != len(classes) for s in states):
        return  # what is wrong with them is said elsewhere
    what = " and ".join(map(repr, tasks))
    of_sets = _known([s.states for s in states if s is not None], len(classes))
    untaught = [i for i, of_class in enumerate(of_sets) if of_class == {NOT_ANNOTATED}]
    if untaught:
        yield (
            "",
            f"no training set ({', '.join(names)}) is annotated for {_named(classes, untaught)}, which {what} is to "
            "learn: leave it out of MTL.DATA.CLASSES, give `class_synonyms`, or add a data set that has it",
        )
    stated = [states_of_images(r, s.states, classes_key) for r, s in zip(sets.values(), states, strict=True) if s]
    of_images = _known(set().union(*stated), len(classes))
    taught = {i: known for i, known in enumerate(of_images) if i not in untaught}
    yield from ((names[0], line) for line in _half_taught(classes, taught, what))


def _half_taught(classes: Sequence[str], of_images: Mapping[int, set[int]], what: str) -> Iterator[str]:
    """What is to be known of classes that images say themselves that they are not, or partly, annotated for."""
    unseen = [i for i, known in of_images.items() if known == {NOT_ANNOTATED}]
    if unseen:
        yield (
            f"no image of the training sets is annotated for {_named(classes, unseen)}: none shows it, and none says "
            f"that it does not, so {what} learns nothing of it"
        )
    one_sided = [i for i, known in of_images.items() if EXHAUSTIVE not in known and NOT_EXHAUSTIVE in known]
    if one_sided:
        yield (
            f"no training set is annotated exhaustively for {_named(classes, one_sided)}: nothing teaches {what} what "
            "it is not, so that it may be seen everywhere; add images that show all of it, or none"
        )


def states_of_images(records: Sequence[Mapping[str, Any]], of_set: bytes, classes_key: str) -> set[bytes]:
    """What the images of a data set say, each once; those that say nothing are as the data set is."""
    key = annotated_key(classes_key)
    everything = bytes([EXHAUSTIVE] * len(of_set))  # of which records of ``with_states`` do not speak
    return {record.get(key, everything) for record in records} if records else {of_set}


def _known(stated: Iterable[bytes], classes: int) -> list[set[int]]:
    """By class, all that is said of it."""
    known: list[set[int]] = [set() for _ in range(classes)]
    for states in stated:
        for of_class, state in zip(known, states, strict=True):
            of_class.add(state)
    return known


def _named(names: Sequence[str], ids: Sequence[int]) -> str:
    return the_first([repr(names[i]) for i in ids])


def _states(name: str, classes_key: str) -> AnnotatedClasses | None:
    metadata = MetadataCatalog.get(name)
    return None if wrong_lists(metadata, classes_key) else annotated_classes(metadata, classes_key)
