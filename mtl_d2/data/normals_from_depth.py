"""Surface normals of a depth map, for data sets that publish none.

In a pinhole camera the inverse depth of a plane is an affine function of the pixel: n . X = d with X = z (u, v, 1)
gives 1 / z = n . (u, v, 1) / d. So the plane around each pixel is a least-squares fit of three numbers in a window,
which box filters do for all windows at once, and it is exact on planes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Pixels; with 21 the result is nearest to the published normals of NYUv2's image 433, 2.2 degrees in the median. Across
# the edge of a surface the fit is of neither side.
WINDOW = 21
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
    known = (depth > 0).astype(np.float64)
    inverse = known / np.where(depth > 0, depth, 1)
    height, width = depth.shape
    u = np.broadcast_to((np.arange(width) - camera.cx) / camera.fx, depth.shape)
    v = np.broadcast_to(((np.arange(height) - camera.cy) / camera.fy)[:, None], depth.shape)

    def mean(values: Array) -> Array:
        return cv2.boxFilter(values, cv2.CV_64F, (window, window), borderType=cv2.BORDER_CONSTANT)

    share = mean(known)  # of the window, beyond the border too
    counted = np.maximum(share, 1e-9)
    mean_u, mean_v, mean_w = (mean(known * values) / counted for values in (u, v, inverse))
    uu, vv, uv = (mean(known * a * b) / counted - p * q for a, b, p, q in (
        (u, u, mean_u, mean_u), (v, v, mean_v, mean_v), (u, v, mean_u, mean_v)
    ))  # fmt: skip
    uw, vw = (mean(inverse * a) / counted - p * mean_w for a, p in ((u, mean_u), (v, mean_v)))
    determinant = uu * vv - uv * uv
    along_u, along_v = uw * vv - vw * uv, vw * uu - uw * uv  # both times the determinant
    at_center = determinant * mean_w - along_u * mean_u - along_v * mean_v
    vectors = -np.stack([along_u, along_v, at_center], -1)
    length = np.linalg.norm(vectors, axis=-1)
    labelled = (known > 0) & (share >= FEWEST) & (determinant > 1e-3 * _full(window, camera)) & (length > 0)
    return np.where(labelled[..., None], vectors / np.where(length > 0, length, 1)[..., None], 0).astype(np.float32)


def _full(window: int, camera: Intrinsics) -> float:
    """The determinant of a window that has depth everywhere."""
    variance = (window * window - 1) / 12
    return variance / camera.fx**2 * variance / camera.fy**2
