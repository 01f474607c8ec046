"""The objects that BDD100K's label files list: classes by name, boxes, crowd regions, and what is odd with them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from detectron2.structures import BoxMode

from mtl_d2.data.datasets.bdd100k_classes import CATEGORY_ID, CROWD_NAMES, OTHER_NAMES
from mtl_d2.data.errors import DataError
from mtl_d2.data.once import warn_once

Traced = TypeVar("Traced")
logger = logging.getLogger(__name__)


class Shape(NamedTuple):
    """What the labels of a file trace objects by, in words.

    Attributes:
        objects: what they are called.
        needed: what a label needs besides its category.
        empty: what is said of an object without a pixel.
    """

    objects: str
    needed: str
    empty: str


BOXES = Shape("boxes", "one of box2d's numbers x1, y1, x2, y2", "with x2 < x1 or y2 < y1")
MASKS = Shape("masks", "rle's `size` and `counts`", "without a pixel")


@dataclass
class Tally:
    """Counts what is odd in one label file, so that each oddity is said once, with its number.

    Attributes:
        path: of the file.
        classes: names of those that the file may list.
        shape: what its objects are traced by.
        unknown: objects per category that is none of ``classes``.
        first: the first frame of each such category.
        broken: frames that have a label without a category or without a shape.
        crowd: objects that became crowd regions.
        empty: objects without a pixel; they are dropped.
    """

    path: Path
    classes: Sequence[str]
    shape: Shape
    unknown: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    crowd: int = 0
    empty: int = 0

    def class_of(self, label: dict[str, Any], frame: str) -> tuple[int | None, bool]:
        """Class id of an object, None if its category is unknown, which is counted; and whether it is a crowd region.

        Raises:
            KeyError: it has no category.
        """
        name = label["category"]
        same = OTHER_NAMES.get(name, name)
        known = CROWD_NAMES.get(same, same)
        if known not in self.classes:
            self.unknown[str(name)] += 1
            self.first.setdefault(str(name), frame)
            return None, False
        attributes = label.get("attributes") or {}
        return CATEGORY_ID[known], same in CROWD_NAMES or bool(attributes.get("crowd") or attributes.get("ignored"))

    def objects(
        self, frame: dict[str, Any], key: str, read: Callable[[Any], Traced | None]
    ) -> Iterator[tuple[Traced, int, bool]]:
        """What the objects of a frame are traced by, their class ids, and whether they are crowd regions.

        Args:
            frame: in the Scalabel format.
            key: of its labels; those without it are no objects.
            read: makes of what stands there what is given; None where it has no pixel. What it stumbles over is broken.
        """
        for label in frame.get("labels") or ():
            if label.get(key) is None:
                continue
            try:
                traced = read(label[key])
                category_id, crowd = self.class_of(label, frame["name"])
            except (KeyError, TypeError, ValueError):
                self.broken.append(frame["name"])
                continue
            if category_id is None:
                continue
            if traced is None:
                self.empty += 1
                continue
            self.crowd += crowd
            yield traced, category_id, crowd

    def report(self) -> None:
        """Says what was counted.

        Raises:
            DataError: a line for each unknown category, and one for broken labels.
        """
        objects, needed, empty = self.shape
        names = ", ".join((*self.classes, *OTHER_NAMES, *CROWD_NAMES))
        lines = [
            f"{self.path}: {n} {objects} of unknown category {name!r}, first in {self.first[name]!r}: "
            f"correct it to one of {names}"
            for name, n in self.unknown.items()
        ]
        if self.broken:
            lines.append(
                f"{self.path}: {len(self.broken)} labels lack `category` or {needed}, "
                f"first in {self.broken[0]!r}: correct or remove them"
            )
        if lines:
            raise DataError("\n".join(lines))
        if self.crowd:
            logger.info("%s: %d %s are crowd regions, neither trained on nor counted", self.path, self.crowd, objects)
        if self.empty:
            warn_once(logger, f"{self.path}: dropped {self.empty} {objects} {empty}")


def boxes(frame: dict[str, Any], tally: Tally) -> Iterator[dict[str, Any]]:
    """Annotations of one frame; labels without a box (lanes, drivable areas) are none of detection's.

    Args:
        frame: of a label file, in the Scalabel format.
        tally: of the file.
    """
    for box, category_id, crowd in tally.objects(frame, "box2d", _box):
        yield {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category_id, "iscrowd": int(crowd)}


def _box(corners: dict[str, Any]) -> list[float] | None:
    x1, y1, x2, y2 = (float(corners[k]) for k in ("x1", "y1", "x2", "y2"))
    return None if x2 < x1 or y2 < y1 else [x1, y1, x2 + 1, y2 + 1]
