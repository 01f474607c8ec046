"""The one perspective: a pinhole camera over a ground plane.

World: X right, Y up, Z along the road, metres, the ground at Y = 0, the camera at X = Z = 0.
Camera: x right, y down, z forward, metres; pixel (column j, row i) is looked at through its centre (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
NEAR = 0.2  # metres: nothing nearer is drawn


@dataclass(frozen=True)
class Camera:
    """A camera without distortion.

    Attributes:
        width: image width in pixels.
        height: image height in pixels.
        focal: focal length in pixels, the same in x and y.
        center: principal point (column, row) in pixels.
        elevation: height of the camera above the road in metres.
        pitch: radians, positive looks down.
        yaw: radians, positive looks right.
    """

    width: int
    height: int
    focal: float
    center: tuple[float, float]
    elevation: float
    pitch: float = 0.0
    yaw: float = 0.0

    @property
    def rotation(self) -> Array:
        """(3, 3), world to camera; it also flips Y, hence its determinant is -1."""
        s, c = np.sin(self.pitch), np.cos(self.pitch)
        tilt = np.array([[1, 0, 0], [0, -c, -s], [0, -s, c]])
        s, c = np.sin(self.yaw), np.cos(self.yaw)
        turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        return tilt @ turn

    def to_camera(self, points: Array) -> Array:
        """(N, 3) world to (N, 3) camera coordinates, metres."""
        return (np.asarray(points, dtype=np.float64) - [0.0, self.elevation, 0.0]) @ self.rotation.T

    def ray_grid(self) -> tuple[Array, Array]:
        """Slopes x/z of the columns, (W,), and y/z of the rows, (H,), both float32."""
        xs = (np.arange(self.width) + 0.5 - self.center[0]) / self.focal
        ys = (np.arange(self.height) + 0.5 - self.center[1]) / self.focal
        return xs.astype(np.float32), ys.astype(np.float32)

    def window(self, points: Array) -> tuple[slice, slice] | None:
        """Rows and columns that a convex body with the given corners can cover.

        Args:
            points: (N, 3) corners in camera coordinates; one nearer than ``NEAR`` opens the window to the whole image.

        Returns:
            The slices, or None where the body is out of view.
        """
        z = points[:, 2]
        if z.max() <= NEAR:
            return None
        if z.min() <= NEAR:
            return slice(0, self.height), slice(0, self.width)
        columns = points[:, 0] / z * self.focal + self.center[0]
        rows = points[:, 1] / z * self.focal + self.center[1]
        left, right = max(int(columns.min()) - 1, 0), min(int(columns.max()) + 2, self.width)
        top, bottom = max(int(rows.min()) - 1, 0), min(int(rows.max()) + 2, self.height)
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)

    def box(self, points: Array) -> tuple[float, float, float, float] | None:
        """Unclipped bounds (left, top, right, bottom) in pixels of world points (N, 3); None if one is too near."""
        local = self.to_camera(points)
        if local[:, 2].min() <= NEAR:
            return None
        columns = local[:, 0] / local[:, 2] * self.focal + self.center[0]
        rows = local[:, 1] / local[:, 2] * self.focal + self.center[1]
        return float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())
