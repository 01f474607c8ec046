"""Areas of objects, by which they count as small, medium or large."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mtl_d2.data.annotation_forms import plain_mask


class PublishedAreas:
    """Areas in a data set's file, by what its records have as well: image, class and box."""

    def __init__(self, annotations: Iterable[dict[str, Any]], by_class: bool = True) -> None:
        """Reads them.

        Args:
            annotations: COCO's.
            by_class: whether records have the file's classes; False = they were mapped to others.
        """
        self._by_class = by_class
        self._areas: defaultdict[Hashable, deque[Any]] = defaultdict(deque)
        for a in annotations:
            try:
                self._areas[self._key(a["image_id"], a["category_id"], a["bbox"])].append(a["area"])
            except (KeyError, TypeError):  # nothing is known of it
                continue

    def take(self, image_id: Hashable, category_id: Hashable, box: Sequence[float]) -> Any:
        """The area of an object; of several in one place, one after the other."""
        areas = self._areas.get(self._key(image_id, category_id, box)) if self._areas else None
        return areas.popleft() if areas else None

    def _key(self, image_id: Hashable, category_id: Hashable, box: Sequence[float]) -> Hashable:
        return image_id, self._by_class and category_id, *(round(value, 2) for value in box)


def is_area(area: Any) -> bool:
    """Whether it is a finite number, 0 or more."""
    return isinstance(area, Real) and 0 <= float(area) < math.inf


def area_of(annotation: dict[str, Any], of_box: float) -> float:
    """The area of an object's mask in pixels, polygons as detectron2 counts them; of its box where it has no mask.

    Args:
        annotation: detectron2's; its mask need not be clean, as it is where masks are not evaluated.
        of_box: in pixels.
    """
    try:
        mask = plain_mask(annotation.get("segmentation"), None)
    except (TypeError, ValueError):
        return of_box
    if isinstance(mask, dict):
        return float(coco_mask.area(mask))
    area = math.fsum(_polygon_area(polygon) for polygon in mask or () if len(polygon) >= 6 and len(polygon) % 2 == 0)
    return area if 0 < area < math.inf else of_box


def _polygon_area(polygon: Sequence[float]) -> float:
    x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
