"""Surface normals of a depth map, for data sets that publish none.

In a pinhole camera the inverse depth of a plane is an affine function of the pixel: n . X = d with X = z (u, v, 1)
gives 1 / z = n . (u, v, 1) / d. So the plane around each pixel is a least-squares fit of three numbers in a window,
which filters do for all windows at once. On planes it is exact but for the rounding of 32 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Pixels; with 21 the result is nearest to the published normals of NYUv2's image 433, 2.2 degrees in the median. Across
# the edge of a surface the fit is of neither side.
WINDOW = 21
PLACES = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))  # powers of x and y
FEWEST = 0.5  # share of a window's pixels that must have depth


class Intrinsics(NamedTuple):
    """Of a pinhole camera, in pixels: focal lengths and the place of the optical axis."""

    fx: float
    fy: float
    cx: float
    cy: float


def normals_from_depth(depth: Array, camera: Intrinsics, window: int = WINDOW) -> Array:
    """Unit vectors towards the camera, x right, y down, z forward.

    Args:
        depth: (H, W) along the optical axis, in any unit; 0 = no label.
        camera: of the picture, at this size.
        window: side of the square that a plane is fitted to, in pixels, odd.

    Returns:
        (H, W, 3) float32; all 0 where there is no depth, or too little around.
    """
    known = (depth > 0).astype(np.float32)
    inverse = known / np.where(depth > 0, depth, 1).astype(np.float32)
    inverse /= max(float(inverse.max()), 1e-30)  # the unit does not matter
    places = _moments_of_all(known.shape, window) if known.all() else _moments(known, window, PLACES)
    count, x, y, xx, yy, xy = places
    w, xw, yw = _moments(inverse, window, ((0, 0), (1, 0), (0, 1)))
    counted = np.maximum(count, 1)
    x, y, w, xx, yy, xy, xw, yw = (moment / counted for moment in (x, y, w, xx, yy, xy, xw, yw))
    xx, yy, xy, xw, yw = xx - x * x, yy - y * y, xy - x * y, xw - x * w, yw - y * w  # covariances
    determinant = xx * yy - xy * xy
    labelled = (known > 0) & (count >= FEWEST * window * window) & (determinant > 1e-3 * _full(window))
    along_x, along_y = xw * yy - yw * xy, yw * xx - xw * xy  # slopes, both times the determinant
    columns = camera.cx - np.arange(depth.shape[1], dtype=np.float32)  # to the optical axis
    rows = (camera.cy - np.arange(depth.shape[0], dtype=np.float32))[:, None]
    at_axis = determinant * w + along_x * (columns - x) + along_y * (rows - y)
    vectors = cv2.merge([along_x * np.float32(-camera.fx), along_y * np.float32(-camera.fy), -at_axis])
    length = np.sqrt(cv2.transform(vectors * vectors, np.ones((1, 3))))
    factors = np.where(labelled & (length > 0), 1 / np.where(length > 0, length, 1), np.float32(0))
    return cv2.multiply(vectors, cv2.merge([factors] * 3))  # several times as fast as numpy's, for three channels


def _moments(values: Array, window: int, powers: Sequence[tuple[int, int]]) -> list[Array]:
    """Of each pair of powers the sums over windows of values times offsets (x^p, y^q) from the middle, (H, W) each."""
    offsets = np.arange(window, dtype=np.float32) - window // 2
    return [
        cv2.sepFilter2D(values, cv2.CV_32F, offsets**p, offsets**q, borderType=cv2.BORDER_CONSTANT) for p, q in powers
    ]


@functools.lru_cache(maxsize=4)
def _moments_of_all(shape: tuple[int, int], window: int) -> list[Array]:
    """Those of a map without gaps, which are the same for all of them."""
    return _moments(np.ones(shape, np.float32), window, PLACES)


def _full(window: int) -> float:
    """The determinant of a window that has depth everywhere."""
    variance = (window * window - 1) / 12
    return variance * variance
