"""Masks of a test set's objects as pycocotools takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

Annotations = list[dict[str, Any]]

FAR = 1e6  # pixels; pycocotools walks along a polygon's edges, however far outside the image they lead


def with_pixels(annotations: Annotations, images: Mapping[int | str, dict[str, Any]]) -> Annotations:
    """The annotations, their masks as RLE, but those of which there is no pixel in the image.

    Args:
        annotations: COCO's; their ``segmentation`` is replaced.
        images: COCO's, by their ids.
    """
    for annotation in annotations:
        image = images[annotation["image_id"]]
        annotation["segmentation"] = _rle(annotation, image["height"], image["width"])
    return [a for a in annotations if coco_mask.area(a["segmentation"]) > 0]


def _rle(annotation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    mask = annotation.get("segmentation")
    if isinstance(mask, dict):
        return mask
    if mask is None:  # of a crowd region, as an object without a mask has taken its image from the masks
        x, y, w, h = annotation["bbox"]
        mask = [[x, y, x, y + h, x + w, y + h, x + w, y]]
    if any(max(map(abs, polygon)) > FAR for polygon in mask):
        mask = [np.clip(polygon, -FAR, FAR).tolist() for polygon in mask]
    return coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
