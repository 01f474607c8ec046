"""Resampling of maps whose pixels may have no label, by affine maps of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Array = npt.NDArray[Any]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Affine:
    """A map from points of an image to points of another; the first pixel is the square from (0, 0) to (1, 1).

    Attributes:
        matrix: (2, 3): (x, y) goes to ``matrix @ (x, y, 1)``.
        size: of the image that it leads to; what lies outside the first has no label.
    """

    matrix: Array
    size: Size

    @property
    def magnification(self) -> float:
        """How much longer lines become, the geometric mean over directions."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def turn(self) -> Array:
        """(2, 2) orthogonal: what the map does beside stretching, by its polar decomposition."""
        left, _, right = np.linalg.svd(self.matrix[:, :2])
        return left @ right


def resample(values: Array, affine: Affine, bilinear: bool) -> Array:
    """Values (H, W, C) after an affine map. The nearest pixel decides whether a pixel is labelled, any value but 0."""
    if np.array_equal(np.abs(affine.matrix[:, :2]), np.eye(2)) and not (affine.matrix[:, 2] % 1).any():
        return _flipped_and_shifted(values, affine)
    if _is_resizing(affine, values.shape[:2]):
        return _resized(values, affine.size, bilinear)
    pixels = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)[None]  # (1, C, H, W)
    grid = _sources(affine, values.shape[:2])
    at_nearest = F.grid_sample(pixels, grid, "nearest", "zeros", align_corners=False)
    if bilinear:
        labelled = (pixels != 0).any(1, keepdim=True)
        share = F.grid_sample(labelled.to(pixels), grid, "bilinear", "zeros", align_corners=False)
        mean = F.grid_sample(pixels, grid, "bilinear", "zeros", align_corners=False) / share.clamp(min=0.1)
        at_nearest = torch.where((at_nearest != 0).any(1, keepdim=True), mean, 0)
    return at_nearest[0].permute(1, 2, 0).numpy()


def _is_resizing(affine: Affine, size: tuple[int, ...]) -> bool:
    """Whether a map leads from the whole of an image of ``size`` to the whole of the next."""
    if not (size[0] and size[1]):
        return False
    resized = (affine.size[1] / size[1], 0, 0, 0, affine.size[0] / size[0], 0)
    return all(map(_is_close, affine.matrix.ravel().tolist(), resized))


def _is_close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-12 * abs(b)


def _resized(values: Array, size: Size, bilinear: bool) -> Array:
    """As ``resample``, for a whole image (H, W, C) to ``size``: many times as fast as by a grid of places."""
    if not bilinear:
        return nearest(values, size)
    labelled = _labelled(values)
    if labelled.all():
        return _linear(values, size)
    share = _linear(labelled.astype(np.float32)[..., None], size)
    return _linear(values, size) * (nearest(labelled, size)[..., None] / np.maximum(share, np.float32(0.1)))


def _labelled(values: Array) -> Array:
    """(H, W): where any of (H, W, C) is not 0; one channel at a time, which is faster than all at once."""
    return np.logical_or.reduce([values[..., channel] != 0 for channel in range(values.shape[2])])


def _linear(values: Array, size: Size) -> Array:
    """(H', W', C) means of the four of (H, W, C) around each place, the edge's repeated beyond it."""
    resized = cv2.resize(np.asarray(values, np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized).reshape(*size, values.shape[2])


def nearest(values: Array, size: Size) -> Array:
    """(H', W', ...) of the pixels of (H, W, ...) that the middles of the new ones lie in; of two, the second."""
    rows, columns = (
        ((np.arange(after) + 0.5) * (before / after) + 1e-3).astype(int).clip(max=before - 1)
        for after, before in zip(size, values.shape[:2], strict=True)
    )
    # By this mode numpy does not look at each index first, and takes half of the time.
    return values.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")


def _flipped_and_shifted(values: Array, affine: Affine) -> Array:
    """Values (H, W, C) of which each pixel goes to one pixel; a part of ``values`` itself where that is all."""
    flips = [axis for axis in (0, 1) if affine.matrix[1 - axis, 1 - axis] < 0]
    if flips:
        values = _flip(values, flips)
    places = []
    for axis, row in ((0, affine.matrix[1]), (1, affine.matrix[0])):
        shift = int(row[2]) - (axis in flips) * values.shape[axis]
        first, end = max(shift, 0), min(shift + values.shape[axis], affine.size[axis])
        places.append((slice(first, max(end, first)), slice(first - shift, max(end, first) - shift)))
    (rows, from_rows), (columns, from_columns) = places
    taken = values[from_rows, from_columns]
    if taken.shape[:2] == affine.size:
        return taken
    moved = np.zeros((*affine.size, values.shape[2]), values.dtype)
    moved[rows, columns] = taken
    return moved


def _flip(values: Array, axes: Sequence[int]) -> Array:
    """(H, W, C) mirrored along some of the first two axes, by OpenCV, which is several times as fast as numpy."""
    code = axes[0] if len(axes) == 1 else -1
    return np.asarray(cv2.flip(values, code)).reshape(values.shape)


def _sources(affine: Affine, size: tuple[int, ...]) -> torch.Tensor:
    """(1, H', W', 2) where each pixel comes from, as ``grid_sample`` counts: -1 to 1 from edge to edge.

    Points are nudged by less than rounding can move them, so that the pixel on the right and below is the nearest one
    where two are equally near, as in Pillow.
    """
    backward = np.linalg.inv(np.vstack([affine.matrix, [0, 0, 1]]))
    (height, width), (rows, columns) = affine.size, size
    x = np.arange(width) + 0.5
    y = np.arange(height)[:, None] + 0.5
    points = [row[0] * x + row[1] * y + row[2] + 1e-3 for row in backward[:2]]
    grid = np.stack([points[0] * (2 / columns) - 1, points[1] * (2 / rows) - 1], -1)
    return torch.from_numpy(grid.astype(np.float32))[None]
