"""The objects of an image as they can be drawn, from predictions and from a record's annotations alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.structures import BoxMode, Instances
from detectron2.utils.visualizer import GenericMask

from mtl_d2.prediction.results import Objects

Mask = npt.NDArray[np.bool_]

# Why an object is not drawn, or not as a whole; both stand on the page.
UNREADABLE = "without a box, box mode and class that can be read"
NOT_FINITE = "with a box or score that is NaN or infinite"
NO_AREA = "whose box has no area inside the image"
NO_MASK = "with a mask that cannot be read or has another size than the image; their boxes are drawn"


@dataclass(frozen=True)
class DrawnObject:
    """One object.

    Attributes:
        box: x0, y0, x1, y1 in pixels, within the image.
        category: class id.
        score: None where nobody gave one, as for ground truth.
        mask: (H, W), None where there is none.
    """

    box: tuple[float, float, float, float]
    category: int
    score: float | None
    mask: Mask | None


@dataclass
class ImageObjects:
    """The objects of one image.

    Attributes:
        drawn: those that can be drawn.
        left_out: why others are not, and how many.
    """

    drawn: list[DrawnObject] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def read_objects(instances: Instances | Objects | Sequence[dict], height: int, width: int) -> ImageObjects:
    """What can be drawn of an image of `height` times `width` pixels.

    Args:
        instances: predictions on the CPU (`pred_boxes`, `pred_classes`, optionally `scores` and `pred_masks`), or a
            record's list of annotations, or results of ``mtl_d2.load``.
        height: of the image.
        width: of the image.
    """
    objects = ImageObjects()
    given: Iterator[tuple[list[float], int, float | None, Any] | None]
    if isinstance(instances, Objects):
        given = _results(instances)
    else:
        given = _predictions(instances) if isinstance(instances, Instances) else _annotations(instances)
    for parsed in given:
        if parsed is None:
            objects.left_out[UNREADABLE] += 1
            continue
        box, category, score, shape = parsed
        if not all(map(math.isfinite, box)) or not math.isfinite(score or 0.0):
            objects.left_out[NOT_FINITE] += 1
            continue
        x0, y0, x1, y1 = (min(max(value, 0.0), float(end)) for value, end in zip(box, [width, height] * 2, strict=True))
        if x1 <= x0 or y1 <= y0:
            objects.left_out[NO_AREA] += 1
            continue
        mask = None if shape is None else _mask(shape, height, width)
        objects.left_out[NO_MASK] += shape is not None and mask is None
        objects.drawn.append(DrawnObject((x0, y0, x1, y1), category, score, mask))
    objects.left_out += Counter()  # drops zeros
    return objects


def _predictions(instances: Instances) -> Iterator[tuple[list[float], int, float | None, Any]]:
    scores = instances.scores.tolist() if instances.has("scores") else [None] * len(instances)
    masks = instances.pred_masks.numpy() if instances.has("pred_masks") else [None] * len(instances)
    boxes = instances.pred_boxes.tensor.detach().reshape(-1, 4).tolist()
    yield from zip(boxes, instances.pred_classes.tolist(), scores, masks, strict=True)


def _results(objects: Objects) -> Iterator[tuple[list[float], int, float | None, Any]]:
    masks = [None] * len(objects) if objects.masks is None else objects.masks
    yield from zip(objects.boxes.tolist(), objects.class_ids.tolist(), objects.scores.tolist(), masks, strict=True)


def _annotations(given: Sequence[dict]) -> Iterator[tuple[list[float], int, float | None, Any] | None]:
    for annotation in given:
        try:
            numbers = [float(value) for value in annotation["bbox"]]
            x0, y0, x1, y1 = BoxMode.convert(numbers, BoxMode(annotation["bbox_mode"]), BoxMode.XYXY_ABS)
            corners = [float(value) for value in (x0, y0, x1, y1)]
            score = annotation.get("score")  # pseudo labels have one
            score = None if score is None else float(score)
            yield corners, int(annotation["category_id"]), score, _outline(annotation.get("segmentation"))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, AssertionError, NotImplementedError):
            yield None


def _outline(shape: Any) -> Any:
    """An annotation's mask; None where it says that there is none."""
    return None if shape is None or (isinstance(shape, str | list | dict) and not shape) else shape


def _mask(shape: Any, height: int, width: int) -> Mask | None:
    """The pixels (H, W) of polygons, RLE or a map of pixels; None where there is no mask of this size."""
    try:
        if isinstance(shape, dict):
            fits = tuple(shape["size"]) == (height, width)
        elif isinstance(shape, list | tuple):
            shape = _polygons(shape, height, width)
            fits = bool(shape)
        else:
            return np.asarray(shape).astype(bool, copy=False) if np.shape(shape) == (height, width) else None
        return GenericMask(shape, height, width).mask.astype(bool) if fits else None
    except (KeyError, TypeError, ValueError, AssertionError):
        return None


def _polygons(shape: Sequence[Any], height: int, width: int) -> list[npt.NDArray[np.float64]]:
    """Those of three points and more; pycocotools takes what is far outside the image for memory that it may write."""
    flat = [np.asarray(polygon, dtype=np.float64).ravel() for polygon in shape]
    fit = [p for p in flat if len(p) >= 6 and len(p) % 2 == 0 and np.isfinite(p).all()]
    reach = float(height + width)
    return [np.clip(p, -reach, 2 * reach) for p in fit]
