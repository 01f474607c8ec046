"""What is wrong with the annotations of a data set: counted, and dropped where an object can be done without.

An object whose box has no area inside its image is dropped, as is a polygon of fewer than three points, and an object
that is left without any polygon. A box that reaches outside its image counts with its part inside. An image one of
whose objects has no mask, where others have, is not labelled for masks. A mask that cannot belong to its image, or
that the config cannot read, is an error: see ``Cleaned.refused``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from mtl_d2.tasks import LABELS

Records = list[dict[str, Any]]

NO_AREA = "objects dropped: their box has no area inside the image"
OUTSIDE = "boxes reach outside their image: their part inside counts"
FEW_POINTS = "polygons dropped: they have fewer than three points"
NO_POLYGON = "objects dropped: no polygon of theirs is left"
NO_MASK = "images have an object without a mask: they are not labelled for the task instance"
OTHER_SIZE = "RLE masks have another size than their image: take the annotation file that is of these images"
NO_OUTLINE = "masks are RLE, of which no polygons can be made: set INPUT.MASK_FORMAT to 'bitmask'"
INCOMPLETE = "annotations lack one of bbox, bbox_mode, category_id: correct the reader"

REQUIRED = frozenset({"bbox", "bbox_mode", "category_id"})
SLACK = 1.0  # pixels that a box may reach outside: boxes are rounded, and some data sets count the last pixel otherwise


@dataclass
class Cleaned:
    """Records that can be trained on, and what was found in them.

    Attributes:
        records: the records cleaned; those that were clean are the very same objects.
        objects: how many annotations are left that are no crowd regions.
        found: what was dropped or mended, and how often.
        refused: mistakes that keep the records from being trained on, and how often.
        first: the file of the image in which each of both was met first.
    """

    records: Records = field(default_factory=list)
    objects: int = 0
    found: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def lines(self, counts: Counter[str]) -> list[str]:
        """``found`` or ``refused`` as a line each, with its number and the first image."""
        return [f"{n} {what} (first in {self.first[what]})" for what, n in counts.items()]


def clean_annotations(records: Records, masks: bool, mask_format: str) -> Cleaned:
    """Looks at every box, and at every mask where masks are trained on; the records given are left as they are.

    Args:
        records: detectron2's dataset dicts. Without ``annotations`` they pass; without ``height`` and ``width`` nothing
            is known to lie outside.
        masks: whether the task instance is trained.
        mask_format: ``INPUT.MASK_FORMAT``.
    """
    cleaner = _Cleaner(masks, mask_format)
    some_masks = masks and any("segmentation" in a for r in records for a in r.get("annotations", ()))
    for record in records:
        cleaner.add(record)
        if some_masks and not LABELS["instance"].is_in_record(record):
            cleaner.count(NO_MASK)
    return cleaner.result


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

    def add(self, record: dict[str, Any]) -> None:
        self.record = record
        if "annotations" in record:
            given = record["annotations"]
            kept = [a for a in map(self._clean, given) if a is not None]
            self.result.objects += sum(not a.get("iscrowd", 0) for a in kept)
            if len(kept) != len(given) or any(a is not b for a, b in zip(kept, given, strict=True)):
                record = {**record, "annotations": kept}
        self.result.records.append(record)

    def count(self, what: str, number: int = 1, refused: bool = False) -> None:
        counts = self.result.refused if refused else self.result.found
        counts[what] += number
        self.result.first.setdefault(what, self.record["file_name"])

    def _clean(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """The annotation as it can be trained on, or None."""
        if not REQUIRED.issubset(annotation):
            self.count(INCOMPLETE, refused=True)
            return None
        if not self._has_area(annotation):
            self.count(NO_AREA)
            return None
        segmentation = annotation.get("segmentation")
        if not self.masks or segmentation is None:
            return annotation
        if isinstance(segmentation, dict):
            return self._clean_rle(annotation, segmentation)
        return self._clean_polygons(annotation, segmentation)

    def _has_area(self, annotation: dict[str, Any]) -> bool:
        box = annotation["bbox"]
        if annotation["bbox_mode"] == BoxMode.XYWH_ABS:  # by hand: detectron2 makes a tensor of every single box
            x1, y1, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
        else:
            x1, y1, x2, y2 = BoxMode.convert(list(box), annotation["bbox_mode"], BoxMode.XYXY_ABS)
        width, height = self.record.get("width", float("inf")), self.record.get("height", float("inf"))
        inside = min(x2, width) > max(x1, 0) and min(y2, height) > max(y1, 0)
        if inside and (min(x1, y1) < -SLACK or x2 > width + SLACK or y2 > height + SLACK):
            self.count(OUTSIDE)
        return inside

    def _clean_polygons(self, annotation: dict[str, Any], polygons: list[Any]) -> dict[str, Any] | None:
        kept = [p for p in polygons if len(p) >= 6 and len(p) % 2 == 0]
        if len(kept) == len(polygons) > 0:
            return annotation
        if len(kept) < len(polygons):
            self.count(FEW_POINTS, len(polygons) - len(kept))
        if not kept:
            self.count(NO_POLYGON)
            return None
        return {**annotation, "segmentation": kept}

    def _clean_rle(self, annotation: dict[str, Any], rle: dict[str, Any]) -> dict[str, Any]:
        height, width = rle["size"]
        if (height, width) != (self.record.get("height", height), self.record.get("width", width)):
            self.count(OTHER_SIZE, refused=True)
        if self.polygons and not annotation.get("iscrowd", 0):
            self.count(NO_OUTLINE, refused=True)
        if isinstance(rle["counts"], list):  # not compressed, as COCO's files have their crowd regions
            return {**annotation, "segmentation": coco_mask.frPyObjects(rle, height, width)}
        return annotation
