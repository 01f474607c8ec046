"""The forms that readers give boxes, masks and numbers in, brought to the one that detectron2 and pycocotools take.

Each function raises ``ValueError`` or ``TypeError`` where the meaning is not plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

Polygons = list[list[float]]
Rle = dict[str, Any]

NUMBERS = frozenset({int, float})
RELATIVE = (BoxMode.XYXY_REL, BoxMode.XYWH_REL)


def whole_number(value: Any) -> int:
    """An int of a number, or of a text of one."""
    number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def plain_box(box: Any, mode: Any, size: tuple[int, int] | None) -> tuple[list[float], BoxMode]:
    """A box as a list of four floats, XYXY_ABS or XYWH_ABS; around it, where it is rotated.

    Args:
        box: four numbers, five of a rotated box: a sequence, array or tensor of numbers or texts.
        mode: a ``BoxMode``, or its number.
        size: (width, height) of the image in pixels, for relative boxes.
    """
    mode = BoxMode(whole_number(mode))
    numbers = np.asarray(box, dtype=np.float64).reshape(-1)
    if len(numbers) != (5 if mode == BoxMode.XYWHA_ABS else 4):
        raise ValueError(box)
    if mode == BoxMode.XYWHA_ABS:
        return list(BoxMode.convert(numbers.tolist(), mode, BoxMode.XYXY_ABS)), BoxMode.XYXY_ABS
    if mode in RELATIVE:
        if size is None:
            raise ValueError(size)
        numbers = numbers * (size * 2)
        mode = BoxMode.XYXY_ABS if mode == BoxMode.XYXY_REL else BoxMode.XYWH_ABS
    return numbers.tolist(), mode


def plain_mask(segmentation: Any, size: tuple[int, int] | None) -> Polygons | Rle | None:
    """A mask as polygons of flat lists x0, y0, x1, y1, ..., or as compressed RLE; None where there is none.

    Polygons are given however few points they have.

    Args:
        segmentation: polygons as lists or arrays, of numbers or of points; a single one of either; RLE, compressed or
            not; an array, tensor or list of rows (H, W) of the image's pixels; None or something empty.
        size: (width, height) of the image in pixels, which tells pixels from polygons; None = not known.
    """
    if segmentation is None or len(segmentation) == 0:
        return None
    if isinstance(segmentation, dict):
        return plain_rle(segmentation)
    if isinstance(segmentation, str):
        raise ValueError(segmentation)
    if not isinstance(segmentation, list | tuple) or are_rows(segmentation, size):
        pixels = np.asarray(segmentation)
        if pixels.ndim == 3 and len(pixels) == 1 and pixels.dtype == bool:
            pixels = pixels[0]
        if pixels.ndim == 2 and (pixels.dtype == bool or (pixels.dtype.kind in "iuf" and pixels.shape[::-1] == size)):
            return coco_mask.encode(np.asfortranarray(pixels != 0, dtype=np.uint8))
    return _plain_polygons(segmentation)


def are_rows(segmentation: Sequence[Any], size: tuple[float, float] | None) -> bool:
    """Whether a list is of as many rows, of as many numbers each, as the image has pixels."""
    if size is None or len(segmentation) != size[1]:
        return False
    return all(isinstance(row, list | tuple) and len(row) == size[0] for row in segmentation)


def plain_rle(rle: Rle) -> Rle:
    """RLE compressed, with its size in two ints."""
    if "size" not in rle or "counts" not in rle:
        raise ValueError(rle)
    height, width = map(whole_number, rle["size"])
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        return rle if rle["size"] == [height, width] else {**rle, "size": [height, width]}
    runs = [whole_number(run) for run in counts]
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise ValueError(counts)
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def _plain_polygons(segmentation: Any) -> Polygons:
    if all(np.ndim(part) == 0 for part in segmentation):  # one polygon, not in a list
        return [_floats(segmentation).tolist()]
    parts = [_floats(part) for part in segmentation]
    if len(parts) > 2 and all(part.size == 2 for part in parts):  # one polygon of points
        return [np.concatenate([part.reshape(-1) for part in parts]).tolist()]
    if any(part.ndim > 1 and part.shape[-1] != 2 for part in parts):
        raise ValueError(segmentation)
    return [part.reshape(-1).tolist() for part in parts]


def _floats(values: Any) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def is_plain(annotation: dict[str, Any]) -> bool:
    """Whether box, class and flags have detectron2's form.

    Raises:
        KeyError: it lacks one of them.
        TypeError: it is no dict.
    """
    box, mode = annotation["bbox"], annotation["bbox_mode"]
    return (
        type(annotation["category_id"]) is int
        and (type(box) is list or type(box) is tuple)
        and len(box) == 4
        and NUMBERS.issuperset(map(type, box))
        and (mode == BoxMode.XYWH_ABS or mode == BoxMode.XYXY_ABS)
        and annotation.get("iscrowd", 0) in (0, 1)
        and "ignore" not in annotation
    )


def touches_its_box(annotation: dict[str, Any]) -> bool:
    """Whether the box and the one around the polygons share a tenth of the smaller of the two."""
    x1, y1, x2, y2 = annotation["bbox"]
    if annotation["bbox_mode"] == BoxMode.XYWH_ABS:
        x2, y2 = x1 + x2, y1 + y2
    xs, ys = ([v for polygon in annotation["segmentation"] for v in polygon[i::2]] for i in (0, 1))
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    shared = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0)
    return bool(shared * 10 >= min((x2 - x1) * (y2 - y1), (right - left) * (bottom - top)))


def are_plain(polygons: list[Any]) -> bool:
    """Whether they are flat lists of finite numbers, three points or more each."""
    for polygon in polygons:
        if type(polygon) is not list or len(polygon) < 6 or len(polygon) % 2:
            return False
        try:
            total = sum(polygon)  # NaN or infinite if one of them is; no texts or points can be added
        except TypeError:
            return False
        if total - total != 0:
            return False
    return bool(polygons)
