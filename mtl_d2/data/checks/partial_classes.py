"""Which classes data sets are annotated for, each by itself and all that train together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.config_checks.sentences import the_first
from mtl_d2.data.annotated_classes import (
    EXHAUSTIVE,
    NOT_ANNOTATED,
    AnnotatedClasses,
    annotated_classes,
    nearest,
    of_image,
    other_class,
    other_key,
    wrong_names,
)
from mtl_d2.data.class_mapping import SYNONYMS
from mtl_d2.data.errors import DataError


def wrong_synonyms(metadata: Metadata, lists: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Synonyms for what is no class of the run's ``lists``, which would be left out without a word."""
    synonyms, known = metadata.get(SYNONYMS) or {}, [n for names in lists.values() for n in names]
    if not isinstance(synonyms, Mapping):
        yield f"`{SYNONYMS}` in its metadata must be a dict from its names to the run's, got {synonyms!r}"
        return
    for own, meant in synonyms.items() if known else ():
        if meant not in known:
            yield (
                f"`{SYNONYMS}` in its metadata has {meant!r} for {own!r}, which is no class of "
                f"MTL.DATA.CLASSES{nearest(meant, known)}"
            )


def wrong_lists(metadata: Metadata, classes_key: str) -> list[str]:
    """Names that are no classes of the data set; see ``wrong_names``."""
    return list(wrong_names(metadata, classes_key)) if metadata.get(classes_key) else []


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
        absent = () if stated.are_all else stated.ids(NOT_ANNOTATED)
        wrong = [a["category_id"] for a in record.get("annotations") or () if a["category_id"] in absent]
        if wrong:
            first = first or f"{record.get('file_name')}: a {names[wrong[0]]!r}"
            count += len(wrong)
    if count:
        yield (
            f"{count} of its annotations are of classes that `annotated_classes` in its metadata leaves out, the first "
            f"is {first}: name the class there, under `not_exhaustive_classes` if others are missing, or drop them"
        )


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


def nowhere_annotated(names: Sequence[str], classes_key: str, tasks: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Classes that no training set teaches, and those of which none teaches what they are not.

    Args:
        names: of the training sets that are labelled for ``tasks``.
        classes_key: of their list of classes.
        tasks: which share the list.

    Yields:
        "" and what keeps the run from training, or a data set and what it is warned of.
    """
    states = [_states(name, classes_key) for name in names]
    classes = list(map(str, MetadataCatalog.get(names[0]).get(classes_key) or ()))
    if not classes or any(s is None or len(s.states) != len(classes) for s in states):
        return  # what is wrong with them is said elsewhere
    known = [{s.states[i] for s in states if s is not None} for i in range(len(classes))]
    what = " and ".join(map(repr, tasks))
    untaught = [repr(name) for name, of_class in zip(classes, known, strict=True) if of_class == {NOT_ANNOTATED}]
    if untaught:
        yield (
            "",
            f"no training set ({', '.join(names)}) is annotated for {the_first(untaught)}, which {what} is to learn: "
            "leave it out of MTL.DATA.CLASSES, give `class_synonyms`, or add a data set that has it",
        )
    one_sided = [
        repr(n) for n, of in zip(classes, known, strict=True) if EXHAUSTIVE not in of and of != {NOT_ANNOTATED}
    ]
    if one_sided:
        yield (
            names[0],
            f"no training set is annotated exhaustively for {the_first(one_sided)}: nothing teaches {what} what it is "
            "not, so that it may be seen everywhere; add images that show all of it, or none",
        )


def _states(name: str, classes_key: str) -> AnnotatedClasses | None:
    metadata = MetadataCatalog.get(name)
    return None if wrong_lists(metadata, classes_key) else annotated_classes(metadata, classes_key)
