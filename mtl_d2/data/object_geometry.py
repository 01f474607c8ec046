"""Boxes and polygons of an image's objects through its augmentation, all of them as one array.

Numbers are those of detectron2's ``transform_instance_annotations``, which takes objects one by one, to the last bit:
where objects differ in what detectron2 makes of them, as where some boxes have whole numbers only, which it rounds, it
is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from mtl_d2.data.annotation_forms import NUMBERS
from mtl_d2.data.geometry import Geometry

Array = npt.NDArray[Any]
Annotations = Sequence[Mapping[str, Any]]
AT_ONCE = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def transformed_boxes(annotations: Annotations, geometry: Geometry) -> Array:
    """Boxes (N, 4) XYXY in pixels of the augmented image, cut at its edges.

    Args:
        annotations: with ``bbox`` and ``bbox_mode``.
        geometry: what was done to their image.
    """
    if not annotations:
        return np.zeros((0, 4))
    if not _can_be_one_array(annotations):
        return np.stack([_transformed(a, ("bbox", "bbox_mode"), geometry)["bbox"] for a in annotations])
    stored = [annotation["bbox"] for annotation in annotations]
    if annotations[0]["bbox_mode"] == BoxMode.XYWH_ABS:  # in 32 bits, as detectron2 has it
        stored = BoxMode.convert(torch.tensor(stored), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS).tolist()
    height, width = geometry.after
    boxes = geometry.transforms.apply_box(np.array(stored)).clip(min=0)
    return np.minimum(boxes, (width, height, width, height))


def transformed_masks(annotations: Annotations, geometry: Geometry) -> list[Any]:
    """Each object's polygons as a list of arrays x0, y0, x1, y1, ..., or its mask (H, W), in the augmented image.

    Args:
        annotations: with ``bbox``, ``bbox_mode`` and ``segmentation``.
        geometry: what was done to their image.
    """
    masks = [annotation["segmentation"] for annotation in annotations]
    polygons = _equal_polygons(masks)
    if not polygons or not all(map(_moves_points_only, geometry.transforms.transforms)):
        keys = ("bbox", "bbox_mode", "segmentation")
        # Transforms write into the arrays that they are given.
        copies = [[np.array(polygon) for polygon in mask] if isinstance(mask, list) else mask for mask in masks]
        given = ({**one, "segmentation": copied} for one, copied in zip(annotations, copies, strict=True))
        return [_transformed(one, keys, geometry)["segmentation"] for one in given]
    points = geometry.transforms.apply_coords(np.concatenate(polygons).reshape(-1, 2)).reshape(-1)
    moved = iter(np.split(points, np.cumsum([len(polygon) for polygon in polygons[:-1]])))
    return [[next(moved) for _ in annotation["segmentation"]] for annotation in annotations]


def _transformed(annotation: Mapping[str, Any], keys: Sequence[str], geometry: Geometry) -> dict[str, Any]:
    given = {key: annotation[key] for key in keys}
    return utils.transform_instance_annotations(given, geometry.transforms, geometry.after)


def _can_be_one_array(annotations: Annotations) -> bool:
    """Whether boxes are plain lists in one mode, either all of whole numbers or none."""
    mode = annotations[0]["bbox_mode"]
    whole = set()
    for annotation in annotations:
        box = annotation["bbox"]
        if (
            annotation["bbox_mode"] != mode
            or not isinstance(box, list | tuple)
            or not NUMBERS.issuperset(map(type, box))
        ):
            return False
        whole.add(float not in map(type, box))
    return mode in AT_ONCE and len(whole) == 1


def _equal_polygons(segmentations: Sequence[Any]) -> list[Array]:
    """All polygons of all objects, if each has polygons of one type of numbers, else none."""
    if not all(isinstance(segmentation, list) and segmentation for segmentation in segmentations):
        return []
    polygons = [np.asarray(polygon).reshape(-1) for segmentation in segmentations for polygon in segmentation]
    return polygons if len({polygon.dtype for polygon in polygons}) == 1 else []


def _moves_points_only(transform: T.Transform) -> bool:
    """Whether a transform does to polygons what it does to their points; a crop cuts them."""
    return type(transform).apply_polygons is T.Transform.apply_polygons
