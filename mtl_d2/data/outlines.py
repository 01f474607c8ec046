"""From masks to polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def coco_polygons(mask: Array) -> list[list[float]]:
    """Polygons of a mask in COCO's coordinates: pixel (column j, row i) is the square from (j, i) to (j + 1, i + 1).

    COCO's polygons have no holes: a part with a hole is cut in two through the hole.

    Args:
        mask: (H, W) bool.

    Returns:
        One flat list x0, y0, x1, y1, ... for each part.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    crop = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    fine = crop.repeat(2, 0).repeat(2, 1)
    polygons = []
    for contour in _without_holes(fine, 0):
        # Traced on quarters of pixels: an even quarter on the outline has the pixel's left or upper edge, an odd one
        # the right or lower edge, and both round to that edge.
        points = (contour[:, 0] + 1) // 2 + [left, top]
        points = points[(points != np.roll(points, 1, axis=0)).any(1)]
        polygons.append([float(value) for value in points.ravel()])
    return polygons


def _without_holes(fine: Array, shift: int) -> list[Array]:
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [np.asarray(contour) for contour in contours]
    polygons: list[Array] = []
    for k, contour in enumerate(outlines):
        if hierarchy[0, k, 3] >= 0:  # a hole
            continue
        hole = _largest_hole(outlines, hierarchy[0], int(hierarchy[0, k, 2]))
        if hole is None:
            polygons.append(contour + np.array([shift, 0]))
            continue
        part = cv2.drawContours(np.zeros_like(fine), [contour], -1, 1, cv2.FILLED) & fine
        middle = int(hole[:, 0, 0].min() + hole[:, 0, 0].max() + 2) // 4 * 2  # between two pixels
        polygons += _without_holes(np.ascontiguousarray(part[:, :middle]), shift)
        polygons += _without_holes(np.ascontiguousarray(part[:, middle:]), shift + middle)
    return polygons


def _largest_hole(outlines: Sequence[Array], hierarchy: Array, first: int) -> Array | None:
    holes = []
    while first >= 0:
        holes.append(outlines[first])
        first = int(hierarchy[first, 0])
    return max(holes, key=cv2.contourArea, default=None)


def pixel_polygons(mask: Array) -> list[Array]:
    """Outlines (K, 2) of a mask's connected parts, through the centres of their outer pixels as Cityscapes has them."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour[:, 0] for contour in contours]
