"""What is painted on the road and where one may drive, as BDD100K's lane masks and drivable maps hold it.

Differs from BDD100K: what is painted is filled, where its masks trace the edges by lines of three pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array, Camera
from mtl_d2.data.sample_scenes.solids import Pose, View

DIRECT, ALTERNATIVE, NOT_DRIVABLE = 0, 1, 2
# BDD100K's categories, and the bits of style and direction.
CROSSWALK, SINGLE_WHITE, NO_LANE = 0, 6, 255
DASHED, VERTICAL = 1 << 4, 1 << 5
HALF_WIDTH, PERIOD, DASH = 0.08, 9.0, 4.5  # metres, of a line
CROSSING, STRIPES, STRIPE = 3.0, 1.1, 0.55  # metres: length of a crosswalk along the road, its stripes across


class Markings(NamedTuple):
    """The lines of a road.

    Attributes:
        outer: X of the two outermost lines.
        borders: X of the lines between lanes, and whether the lanes lead in opposite directions.
        phase: metres by which the dashes are shifted.
        crossing: Z at which a crosswalk begins, inf = there is none.
    """

    outer: tuple[float, float]
    borders: tuple[tuple[float, bool], ...]
    phase: float
    crossing: float

    def values(self, x: Array, z: Array) -> Array:
        """What a lane mask holds at points (N,) of the road: (N,) uint8."""
        values = np.full(x.shape, NO_LANE, np.uint8)
        values[np.abs(x[:, None] - np.array(self.outer)).min(1) < HALF_WIDTH] = SINGLE_WHITE
        dashed = (z + self.phase) % PERIOD < DASH
        for border, opposite in self.borders:
            on_line = (np.abs(x - border) < HALF_WIDTH) & (dashed | opposite)
            values[on_line] = SINGLE_WHITE if opposite else SINGLE_WHITE | DASHED
        crossed = (z > self.crossing) & (z < self.crossing + CROSSING) & (x % STRIPES < STRIPE)
        values[crossed] = CROSSWALK | VERTICAL
        return values


class RoadMaps(NamedTuple):
    """Two label maps, (H, W) uint8.

    Attributes:
        drivable: ``DIRECT`` on the camera's lane, ``ALTERNATIVE`` on others that lead the same way, else
            ``NOT_DRIVABLE``.
        lane: bit-coded, ``NO_LANE`` where there is no marking.
    """

    drivable: Array
    lane: Array


def road_maps(
    road: Array, depth: Array, camera: Camera, lanes: tuple[tuple[float, int], ...], width: float, markings: Markings
) -> RoadMaps:
    """The maps of a road that the camera stands on.

    Args:
        road: (H, W) bool, where it is seen.
        depth: (H, W) metres along the optical axis.
        camera: of the image.
        lanes: X of the middles of the lanes, with the direction of travel: +1 away from the camera.
        width: of a lane, metres.
        markings: of the road.
    """
    view, window = View(camera, Pose(np.zeros(3))), (slice(0, camera.height), slice(0, camera.width))
    x, _, z = (depth[road] * view.along(window, axis)[road] for axis in camera.rotation.T)
    maps = RoadMaps(np.full(road.shape, NOT_DRIVABLE, np.uint8), np.full(road.shape, NO_LANE, np.uint8))
    drivable = np.full(x.shape, NOT_DRIVABLE, np.uint8)
    own_lane = min((middle for middle, direction in lanes if direction > 0), key=abs)  # the camera stands at X = 0
    for middle, direction in lanes:
        if direction > 0:
            drivable[np.abs(x - middle) <= width / 2] = DIRECT if middle == own_lane else ALTERNATIVE
    maps.drivable[road], maps.lane[road] = drivable, markings.values(x, z)
    return maps
