"""Test sets that are annotated for some of their classes, or not for all of their objects: what counts there.

Evaluation is per image, as LVIS has it (Gupta et al., https://arxiv.org/abs/1908.03195, section 3.2): what is predicted
of a class that an image is not annotated for is neither right nor wrong, and of one that is not annotated exhaustively
there it may be right and is not wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.data import MetadataCatalog

from mtl_d2.config_checks.sentences import the_first
from mtl_d2.data.annotated_classes import (
    EXHAUSTIVE,
    NEGATIVE_IDS,
    NOT_ANNOTATED,
    NOT_EXHAUSTIVE,
    NOT_EXHAUSTIVE_IDS,
    AnnotatedClasses,
    annotated_classes,
    annotated_key,
    of_image,
    other_class,
    other_key,
)
from mtl_d2.data.errors import DataError
from mtl_d2.data.reading import read_records

OF_IMAGE = (annotated_key("thing_classes"), NEGATIVE_IDS, NOT_EXHAUSTIVE_IDS)  # keys of a record
Ids = frozenset[int]
Ids2d = npt.NDArray[Any]
Record = dict[str, Any]


@dataclass(frozen=True)
class ThingSubset:
    """What the images of a test set are annotated for.

    Attributes:
        of_images: in the order of the records; ``states`` that are the same are the same object.
        ids: by ``states``: the classes that are not annotated, and those that are not annotated exhaustively.
    """

    of_images: Sequence[AnnotatedClasses]
    ids: Mapping[AnnotatedClasses, tuple[Ids, Ids]] = field(default_factory=dict)

    def left_out(self, number: int) -> Ids:
        """Classes of which nothing counts in an image."""
        return self.ids[self.of_images[number]][0]

    def not_exhaustive(self, number: int) -> Ids:
        """Classes of which an image may show more than is annotated."""
        return self.ids[self.of_images[number]][1]

    def counted(self, records: Sequence[Record]) -> list[Record]:
        """The records less the objects of classes that do not count in their image."""
        return [
            {**r, "annotations": [a for a in r["annotations"] if a["category_id"] not in self.left_out(number)]}
            if self.left_out(number)
            else r
            for number, r in enumerate(records)
        ]

    @property
    def nowhere(self) -> Ids:
        """Classes that no image is annotated for."""
        absent = [self.ids[states][0] for states in dict.fromkeys(self.of_images)]
        return frozenset.intersection(*absent) if absent else frozenset()

    def lines(self, names: Sequence[str]) -> Iterator[str]:
        """What is to be known of the metrics, a line each.

        Args:
            names: of the classes.
        """
        absent, partly = (set().union(*(pair[k] for pair in self.ids.values())) for k in (0, 1))
        nowhere = self.nowhere
        yield from _absent(names, nowhere)
        if absent - nowhere:
            yield f"not all of its images are annotated for {_some(names, absent - nowhere)}: the others do not count"
        if partly:
            yield (
                f"not all objects of {_some(names, partly)} are annotated: predictions that match none do not count "
                "where that is so"
            )


def thing_subset(name: str, records: Sequence[Record]) -> ThingSubset:
    """That of a test set.

    Args:
        name: of the data set.
        records: with ``annotations``.
    """
    metadata = MetadataCatalog.get(name)
    of_set = annotated_classes(metadata)
    of_images = [of_image(record, of_set, metadata) for record in records]
    ids = {
        states: (frozenset(states.ids(NOT_ANNOTATED)), frozenset(states.ids(NOT_EXHAUSTIVE)))
        for states in dict.fromkeys(of_images)
    }
    return ThingSubset(of_images, ids)


@dataclass(frozen=True)
class PixelSubset:
    """What one label map, or all of a test set, says of its C classes.

    Attributes:
        absent: (C + 1,) bool, the classes that it is not annotated for; False for C, which is no class.
        hideable: (C + 1,) bool, the classes that its pixels of ``other`` may be.
        other: id of the class of all that is not annotated, such as "background"; None = there is none.
    """

    absent: npt.NDArray[np.bool_]
    hideable: npt.NDArray[np.bool_]
    other: int | None

    @classmethod
    def of(cls, states: AnnotatedClasses, other: int | None) -> PixelSubset | None:
        """That of the states of classes; None where everything is annotated."""
        if states.are_all:
            return None
        of_classes = np.array([*states.states, EXHAUSTIVE])
        return cls(of_classes == NOT_ANNOTATED, of_classes != EXHAUSTIVE, other)

    def counted(self, truth: Ids2d, predicted: Ids2d, ignored: int) -> tuple[Ids2d, Ids2d]:
        """A label map and a prediction of it, less what says nothing of a model.

        A pixel of ``other`` that is predicted as a class it may be is not counted; nor are pixels of absent classes.
        An absent class where another one is annotated is wrong for that one, and no class: its own IoU does not see it.

        Args:
            truth: (H, W) ids of classes, or ``ignored``.
            predicted: (H, W) ids; what is not one of a class is no class.
            ignored: what truth has where nothing is counted.
        """
        no_class = len(self.absent) - 1
        said = np.where((predicted >= 0) & (predicted < no_class), predicted, no_class)
        hidden = self.absent[np.minimum(truth, no_class)]
        if self.other is not None:
            hidden |= self.hideable[said] & (truth == self.other)
        return np.where(hidden, ignored, truth), np.where(self.absent[said], no_class, said)

    def lines(self, names: Sequence[str]) -> Iterator[str]:
        """What is to be known of the metrics, a line each.

        Args:
            names: of the classes.
        """
        yield from _absent(names, frozenset(map(int, np.flatnonzero(self.absent))))
        hideable = set(map(int, np.flatnonzero(self.hideable)))
        if self.other is not None:
            yield (
                f"its pixels of {names[self.other]} may be {_some(names, hideable)}: predictions of that do not count "
                "there"
            )

    def wrong(self) -> list[int] | None:
        """For each class one far from it in the list that is wrong there; None where one has none."""
        classes = len(self.absent) - 1
        far = [[(k + classes // 2 + j) % classes for j in range(classes)] for k in range(classes)]
        wrong = [next((i for i in ids if i != k and not self.hideable[i]), -1) for k, ids in enumerate(far)]
        return None if -1 in wrong else wrong


def pixel_subset(name: str, classes_key: str, record: Record | None = None) -> PixelSubset | None:
    """That of a test set, or of one of its records, which may say it itself; None where everything is annotated.

    Args:
        name: of the data set.
        classes_key: of its metadata, the list of classes.
        record: of the data set.
    """
    metadata = MetadataCatalog.get(name)
    stated = None if record is None else record.get(annotated_key(classes_key))
    states = annotated_classes(metadata, classes_key) if stated is None else AnnotatedClasses(stated)
    of_set = other_class(metadata, classes_key).get(other_key(classes_key))
    return PixelSubset.of(states, of_set if record is None else record.get(other_key(classes_key), of_set))


def require_all_classes(name: str, classes_keys: Sequence[str], tool: str) -> None:
    """For tools that cannot leave a class out.

    Args:
        name: of the data set, whose records were read.
        classes_keys: of its metadata: the lists of classes that they look at.
        tool: what it is called.

    Raises:
        DataError: the data set is not annotated for all classes.
    """
    says = "its metadata say"
    whole = all(annotated_classes(MetadataCatalog.get(name), key).are_all for key in classes_keys)
    if whole and any(key in record for record in read_records(name) for key in OF_IMAGE):
        whole, says = False, "its records say of single images"
    if not whole:
        raise DataError(
            f"{name}: {says} that not all classes are annotated, which {tool} cannot take into account: "
            "leave its `evaluator_type` out to have it evaluated by this library, or take it out of DATASETS.TEST"
        )


def _absent(names: Sequence[str], ids: Ids) -> Iterator[str]:
    if ids:
        yield (
            f"it is not annotated for {_some(names, ids)}: what is predicted of that is neither right nor wrong, and "
            "no mean has it"
        )


def _some(names: Sequence[str], ids: Ids | set[int]) -> str:
    return the_first([str(names[k]) for k in sorted(ids)])
