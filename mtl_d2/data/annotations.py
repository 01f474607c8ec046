"""What is wrong with the annotations of a data set: counted, and dropped where an object can be done without.

An object whose box has no area inside its image is dropped, as is a polygon of fewer than three points, and an object
that is left without any polygon. A box that reaches outside its image counts with its part inside. An image one of
whose objects has no mask, where others have, is not labelled for masks. A mask that cannot belong to its image, or
that the config cannot read, is an error: see ``Cleaned.refused``. Training and test sets have these same rules.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Hashable, Sequence
from typing import Any

from detectron2.structures import BoxMode

from mtl_d2.data.annotation_findings import (
    ELSEWHERE,
    FEW_POINTS,
    IN_A_CORNER,
    INCOMPLETE,
    NO_AREA,
    NO_BOX,
    NO_CLASS,
    NO_FORM,
    NO_IMAGE,
    NO_MASK,
    NO_OUTLINE,
    NO_POLYGON,
    NO_SIZE,
    NOT_FINITE,
    NOT_LISTED,
    NOTHING,
    OTHER_SIZE,
    OUTSIDE,
    POINT_NOT_FINITE,
    Cleaned,
    Records,
)
from mtl_d2.data.annotation_forms import (
    RELATIVE,
    are_plain,
    are_rows,
    is_plain,
    plain_box,
    plain_mask,
    touches_its_box,
    whole_number,
)
from mtl_d2.data.image_size import image_size
from mtl_d2.data.objects import has_masks
from mtl_d2.data.reading import read_records

COMPARED = 1000  # polygons that are compared with their boxes: what is wrong with most is wrong with the first
SLACK = 1.0  # pixels that a box may reach outside: boxes are rounded, and some data sets count the last pixel otherwise


def clean_annotations(records: Sequence[dict[str, Any]], masks: bool, mask_format: str) -> Cleaned:
    """Looks at every box, and at every mask where masks are trained on; the records given are left as they are.

    What other readers write otherwise is brought to detectron2's form: sizes to ints, boxes to lists, masks to polygons
    of flat lists or to compressed RLE, what is marked ``ignore`` to crowd regions.

    Args:
        records: detectron2's dataset dicts. Without ``annotations`` they pass; without ``height`` and ``width`` nothing
            is known to lie outside.
        masks: whether masks are trained on, or evaluated.
        mask_format: ``INPUT.MASK_FORMAT``.
    """
    cleaner = _Cleaner(masks, mask_format)
    for record in records:
        cleaner.add(record)
    cleaner.refuse_relative()
    if masks:
        cleaner.refuse_elsewhere()
        cleaner.count_without_mask()
    return cleaner.result


def evaluation_records(name: str) -> Records:
    """The records of a test set in the form that a loader takes: sizes are ints, and every image has an id."""
    cleaned = clean_annotations(read_records(name), False, "bitmask").records
    return [record if "image_id" in record else {**record, "image_id": image_key(record)} for record in cleaned]


def image_key(record: dict[str, Any]) -> Hashable:
    """What tells an image of a test set from the others, in its record and in the loader's sample alike."""
    return record["image_id"] if "image_id" in record else record["file_name"]


class _Cleaner:
    """Cleans record after record.

    Attributes:
        result: of the records so far.
        record: the one at hand.
    """

    def __init__(self, masks: bool, mask_format: str) -> None:
        self.masks = masks
        self.polygons = mask_format == "polygon"
        self.result = Cleaned()
        self.record: dict[str, Any] = {}
        self._width = self._height = math.inf  # of the record's image
        self._compared = self._elsewhere = 0  # masks with their boxes
        self._beyond = False  # whether a box lies beyond the first pixel of its image

    def add(self, record: dict[str, Any]) -> None:
        self.record = record
        record = self._size(record)
        if "annotations" in record:
            given = self._listed(record["annotations"])
            kept = [a for a in map(self._clean, given) if a is not None]
            self.result.objects += sum(not a.get("iscrowd", 0) for a in kept)
            self.result.boxes += len(kept)
            clean = given is record["annotations"] and len(kept) == len(given) and all(map(operator.is_, kept, given))
            if not clean:
                record = {**record, "annotations": kept}
        self.result.records.append(record)

    def refuse_relative(self) -> None:
        """Refuses boxes that are said to be in pixels, where all of them are as small as parts of an image are."""
        if self.result.boxes and not self._beyond:
            self.record = next(r for r in self.result.records if r.get("annotations"))
            box = self.record["annotations"][0]["bbox"]
            self.result.refused[IN_A_CORNER] = self.result.boxes
            self.result.first[IN_A_CORNER] = f"{self._file()}: {reprlib.repr(list(box))}"

    def refuse_elsewhere(self) -> None:
        """Refuses masks where most lie elsewhere than their boxes, as relative ones do, or points y, x."""
        if 2 * self._elsewhere > self._compared:
            self.result.refused[ELSEWHERE] = self._elsewhere

    def count_without_mask(self) -> None:
        """Counts the images that have objects with a box alone, if there are any with a mask."""
        labelled = [r for r in self.result.records if "annotations" in r]
        if any("segmentation" in a for r in labelled for a in r["annotations"]):
            for self.record in labelled:
                if not has_masks(self.record):
                    self._count(NO_MASK)

    def _count(self, what: str, number: int = 1) -> None:
        self.result.changes[what] += number
        self.result.first.setdefault(what, self._file())

    def _refuse(self, what: str, annotation: Any = None, value: Any = None) -> None:
        self.result.refused[what] += 1
        if what not in self.result.first:
            place = self._file()
            if annotation is not None:
                number = next(i for i, a in enumerate(self.record["annotations"]) if a is annotation)
                place += f", annotation {number}"
            self.result.first[what] = place if value is None else f"{place}: {reprlib.repr(value)}"

    def _file(self) -> str:
        return str(self.record.get("file_name", f"record {len(self.result.records)}"))

    def _size(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with its size as two ints above 0, or without a size."""
        width, height = record.get("width"), record.get("height")
        if type(width) is int and type(height) is int and width > 0 and height > 0:
            self._width, self._height = width, height
            return record
        self._width = self._height = math.inf
        if "width" not in record and "height" not in record:
            return record
        rest = {key: value for key, value in record.items() if key not in ("width", "height")}
        if width is None or height is None:  # the image knows
            return rest
        try:
            width, height = whole_number(width), whole_number(height)
        except (TypeError, ValueError):
            width = height = 0
        if min(width, height) <= 0:
            self._refuse(NO_SIZE, value={key: record[key] for key in ("height", "width")})
            return rest
        self._width, self._height = width, height
        return {**rest, "width": width, "height": height}

    def _image_size(self) -> tuple[int, int] | None:
        """(width, height) of the record's image; None where neither the record nor a file says it."""
        if math.isfinite(self._width):
            return int(self._width), int(self._height)
        return image_size(self.record)

    def _listed(self, annotations: Any) -> Sequence[dict[str, Any]]:
        if annotations is None:
            self._count(NOTHING)
            return []
        if not isinstance(annotations, list | tuple):
            self._refuse(NOT_LISTED, value=annotations)
            return []
        return annotations

    def _clean(self, given: dict[str, Any]) -> dict[str, Any] | None:
        """The annotation as it can be trained on, or None."""
        try:
            annotation = given if is_plain(given) else self._plain(given)
        except (KeyError, TypeError):
            self._refuse(INCOMPLETE, given, given)
            return None
        if annotation is None or not self._has_area(annotation):
            return None
        if not self.masks or "segmentation" not in annotation:
            return annotation
        segmentation = annotation["segmentation"]
        rows = type(segmentation) is list and are_rows(segmentation, (self._width, self._height))
        if type(segmentation) is list and not rows and are_plain(segmentation):
            self._compare(annotation)
            return annotation
        return self._clean_mask(given, annotation, segmentation)

    def _plain(self, given: dict[str, Any]) -> dict[str, Any] | None:
        """The annotation in detectron2's form, or None where its meaning is not plain.

        Raises:
            KeyError: it lacks something.
            TypeError: it is no dict.
        """
        box, mode, category = given["bbox"], given["bbox_mode"], given["category_id"]
        size = self._image_size() if mode in RELATIVE else None
        if mode in RELATIVE and size is None:
            self._refuse(NO_IMAGE, given)
            return None
        try:
            box, mode = plain_box(box, mode, size)
        except (TypeError, ValueError):
            self._refuse(NO_BOX, given, (box, mode))
            return None
        try:
            category = whole_number(category)
            region = whole_number(given.get("iscrowd") or 0) or whole_number(given.get("ignore") or 0)
        except (TypeError, ValueError):
            keys = ("category_id", "iscrowd", "ignore")
            self._refuse(NO_CLASS, given, {key: given[key] for key in keys if key in given})
            return None
        return {**given, "bbox": box, "bbox_mode": mode, "category_id": category, "iscrowd": int(bool(region))}

    def _has_area(self, annotation: dict[str, Any]) -> bool:
        x1, y1, x2, y2 = annotation["bbox"]
        if annotation["bbox_mode"] == BoxMode.XYWH_ABS:
            x2, y2 = x1 + x2, y1 + y2
        width, height = self._width, self._height
        if not (0 < x2 - x1 < math.inf and 0 < y2 - y1 < math.inf and x1 < width and x2 > 0 and y1 < height and y2 > 0):
            self._count(NO_AREA if all(map(math.isfinite, annotation["bbox"])) else NOT_FINITE)
            return False
        if not self._beyond:
            self._beyond = x2 > 1 or y2 > 1
        if x1 < -SLACK or y1 < -SLACK or x2 > width + SLACK or y2 > height + SLACK:
            self._count(OUTSIDE)
        return True

    def _clean_mask(self, given: dict[str, Any], annotation: dict[str, Any], segmentation: Any) -> Any:
        try:
            sized = hasattr(segmentation, "dtype") or math.isfinite(self._width)
            mask = plain_mask(segmentation, self._image_size() if sized else None)
        except (TypeError, ValueError):
            self._refuse(NO_FORM, given, segmentation)
            return None
        if mask is None:
            return {key: value for key, value in annotation.items() if key != "segmentation"}
        if isinstance(mask, dict):
            self._check_rle(given, annotation, mask)
            return annotation if mask is segmentation else {**annotation, "segmentation": mask}
        return self._clean_polygons(annotation, mask)

    def _clean_polygons(self, annotation: dict[str, Any], polygons: list[list[float]]) -> dict[str, Any] | None:
        enough = [p for p in polygons if len(p) >= 6 and len(p) % 2 == 0]
        kept = [p for p in enough if all(map(math.isfinite, p))]
        if len(enough) < len(polygons):
            self._count(FEW_POINTS, len(polygons) - len(enough))
        if len(kept) < len(enough):
            self._count(POINT_NOT_FINITE, len(enough) - len(kept))
        if not kept:
            self._count(NO_POLYGON)
            return None
        annotation = {**annotation, "segmentation": kept}
        self._compare(annotation)
        return annotation

    def _compare(self, annotation: dict[str, Any]) -> None:
        """The polygons of one of the first objects with its box."""
        if self._compared == COMPARED:
            return
        self._compared += 1
        if not touches_its_box(annotation):
            self._elsewhere += 1
            self.result.first.setdefault(ELSEWHERE, f"{self._file()}: {reprlib.repr(annotation['segmentation'])}")

    def _check_rle(self, given: dict[str, Any], annotation: dict[str, Any], rle: dict[str, Any]) -> None:
        height, width = rle["size"]
        if (width, height) != (self._width, self._height) and math.isfinite(self._width):
            self._refuse(OTHER_SIZE, given, (height, width))
        if self.polygons and not annotation.get("iscrowd", 0):
            self._refuse(NO_OUTLINE, given)
