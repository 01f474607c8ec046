"""What annotations can have wrong, in words, and what was found of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Records = list[dict[str, Any]]

NO_AREA = "objects dropped: their box has no area inside the image"
NOT_FINITE = "objects dropped: their box holds NaN or an infinite number"
OUTSIDE = "boxes reach outside their image: their part inside counts"
CORNERS = "; so many: is `bbox` x, y, width, height, or has it the corner x2, y2 in their place?"
FEW_POINTS = "polygons dropped: they have fewer than three points"
POINT_NOT_FINITE = "polygons dropped: they hold NaN or an infinite number"
NO_POLYGON = "objects dropped: no polygon of theirs is left"
NO_MASK = "images have an object without a mask: they are not labelled for the task instance"
NOTHING = "records have `annotations: None`: taken as images that show no object"
OTHER_SIZE = "RLE masks have another size than their image: take the annotation file that is of these images"
NO_OUTLINE = "masks are RLE or pixels, of which no polygons can be made: set INPUT.MASK_FORMAT to 'bitmask'"
INCOMPLETE = "annotations lack one of bbox, bbox_mode, category_id: correct the reader"
NOT_LISTED = "records have `annotations` that are no list: correct the reader"
NO_SIZE = "records have a `height` or `width` that is no whole number above 0: correct the reader"
NO_BOX = "boxes are not four numbers of a known `bbox_mode`: correct the reader"
NO_IMAGE = "boxes are relative to the size of an image that cannot be opened: give `height` and `width` in the record"
IN_A_CORNER = (
    "boxes, which are all, lie in the first pixel of their image, as relative ones do: give them in pixels, or with "
    "the `bbox_mode` XYXY_REL or XYWH_REL"
)
ELSEWHERE = "masks, most of those looked at, lie elsewhere than their boxes: give their points as x, y in pixels"
NO_CLASS = "annotations have a `category_id`, `iscrowd` or `ignore` that is no whole number: correct the reader"
NO_FORM = "masks are neither polygons, nor RLE, nor the pixels of their image: correct the reader"


@dataclass
class Cleaned:
    """Records that can be trained on, what was changed in them, and what is wrong with them.

    Attributes:
        records: the records cleaned, as many as were given; those that were clean are the very same objects.
        objects: how many annotations are left that are no crowd regions.
        boxes: how many annotations are left.
        changes: what was dropped or mended, and how often.
        refused: mistakes that keep the records from being trained on, and how often.
        first: where each of both was met first: the image's file, and for a mistake the annotation and what it has.
    """

    records: Records = field(default_factory=list)
    objects: int = 0
    boxes: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def lines(self, counts: Counter[str]) -> list[str]:
        """``changes`` or ``refused`` as a line each, with its number and where it was first."""
        return [
            f"{n} {what}{self.doubt if what == OUTSIDE else ''} (first in {self.first[what]})"
            for what, n in counts.items()
        ]

    @property
    def doubt(self) -> str:
        """What boxes that reach outside their image may be, where more than a tenth do."""
        return CORNERS if self.changes[OUTSIDE] * 10 > self.objects else ""
