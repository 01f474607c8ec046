"""BDD100K's instance masks: RLE in a JSON file, or bitmasks.

A pixel of a bitmask, an RGBA PNG, says (https://doc.bdd100k.com/format.html)::

    R  category, from 1; 0 = no object
    G  (truncated << 3) + (occluded << 2) + (crowd << 1) + ignored
    B  the upper and
    A  the lower byte of the object's number in its image
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from mtl_d2.data.datasets.bdd100k_classes import INSTANCE_CLASSES
from mtl_d2.data.datasets.bdd100k_objects import Tally
from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_file

LEFT_OUT = 0b11  # crowd or ignored


def masks_of_frame(frame: dict[str, Any], tally: Tally) -> Iterator[dict[str, Any]]:
    """Annotations of one frame of ``labels/ins_seg/rles``; labels without ``rle`` are none.

    Args:
        frame: in the Scalabel format.
        tally: of the file.
    """
    for (box, mask), category_id, crowd in tally.objects(frame, "rle", _mask):
        yield _annotation(box, category_id, crowd, mask)


def _mask(rle: dict[str, Any]) -> tuple[list[float], dict[str, Any]] | None:
    """The box of a mask, and the mask."""
    mask = {"size": [int(n) for n in rle["size"]], "counts": rle["counts"]}
    x, y, width, height = coco_mask.toBbox(mask).tolist()
    return ([x, y, x + width, y + height], mask) if width * height else None


def masks_of_bitmask(path: Path) -> list[dict[str, Any]]:
    """Annotations of one bitmask, in the order of the objects' numbers.

    Where pixels of one number have several categories or attributes, each combination is an object, as in the
    toolkit's conversion to COCO.

    Raises:
        DataError: it is no image of four 8-bit channels, or has another category.
    """
    from scipy import ndimage  # which most trainings do without

    pixels = read_file(str(path), None)
    if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: expected a bitmask of four 8-bit channels, found shape {pixels.shape} of {pixels.dtype}: unpack "
            "BDD100K's labels/ins_seg/bitmasks, not its colormaps"
        )
    category, attributes, upper, lower = np.moveaxis(pixels.astype(np.uint32), 2, 0)
    codes = upper << 24 | lower << 16 | category << 8 | attributes
    codes[category == 0] = 0
    known, numbers = np.unique(codes, return_inverse=True)
    numbers = numbers.reshape(codes.shape) + (known[0] != 0)
    objects = known[known > 0].tolist()
    annotations = []
    for number, (code, place) in enumerate(zip(objects, ndimage.find_objects(numbers), strict=True), 1):
        (y0, y1), (x0, x1) = ((s.start, s.stop) for s in place)
        category_id = (code >> 8 & 255) - 1
        if category_id >= len(INSTANCE_CLASSES):
            raise DataError(
                f"{path}: object {code >> 16} has category {category_id + 1}, but instance masks have 1 to "
                f"{len(INSTANCE_CLASSES)} ({', '.join(INSTANCE_CLASSES)}): unpack BDD100K's labels/ins_seg, not pan_seg"
            )
        mask = coco_mask.encode(np.asfortranarray(numbers == number, np.uint8))
        rle = {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")}
        annotations.append(_annotation([x0, y0, x1, y1], category_id, bool(code & LEFT_OUT), rle))
    return annotations


def _annotation(corners: list[float], category_id: int, crowd: bool, mask: dict[str, Any]) -> dict[str, Any]:
    return {
        "bbox": [float(c) for c in corners],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": category_id,
        "iscrowd": int(crowd),
        "segmentation": mask,
    }
