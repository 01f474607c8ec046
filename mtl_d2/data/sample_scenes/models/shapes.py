"""Bodies made of several surfaces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.paints import plain
from mtl_d2.data.sample_scenes.solids import Cylinder, Face, Paint, Solid

SIDES = ("rear", "right", "front", "left")
RUBBER, STEEL = (0.035, 0.035, 0.04), (0.55, 0.55, 0.58)


def rectangle(width: float, length: float, level: float, middle: tuple[float, float] = (0.0, 0.0)) -> Array:
    """(4, 3) corners at a height: rear left, rear right, front right, front left."""
    x, z = np.array([-1, 1, 1, -1]) * width / 2 + middle[0], np.array([-1, -1, 1, 1]) * length / 2 + middle[1]
    return np.stack([x, np.full(4, level), z], 1)


def block(bottom: Array, top: Array, paint: Paint, sides: Mapping[str, Paint] | None = None) -> list[Solid]:
    """A body with four sides and a roof, without a floor.

    Args:
        bottom: (4, 3) as ``rectangle`` gives them.
        top: (4, 3) likewise.
        paint: of what ``sides`` does not name.
        sides: paints by the names ``rear``, ``right``, ``front``, ``left`` and ``roof``; u runs rightwards as seen by
            somebody who looks at the side with the body's X to the right (rear) or walks around it counter-clockwise,
            v upwards, both from the lower corner.
    """
    sides = sides or {}
    inside = (bottom.mean(0) + top.mean(0)) / 2
    faces: list[Solid] = []
    for k, name in enumerate(SIDES):
        n = (k + 1) % 4
        corners = np.stack([bottom[k], bottom[n], top[n], top[k]])
        faces.append(Face(corners, sides.get(name, paint), inside))
    faces.append(Face(top, sides.get("roof", paint), inside))
    return faces


def box(
    size: tuple[float, float, float],
    level: float,
    paint: Paint,
    sides: Mapping[str, Paint] | None = None,
    middle: tuple[float, float] = (0.0, 0.0),
) -> list[Solid]:
    """An upright box of (width, height, length) whose floor is at ``level``; see ``block``."""
    width, height, length = size
    bottom = rectangle(width, length, level, middle)
    return block(bottom, bottom + np.array([0, height, 0]), paint, sides)


def disc(center: Array, radius: float, axis: int, paint: Paint, sides: int = 12) -> Face:
    """A regular polygon across one of the object's axes, seen from both sides."""
    angle = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    corners = np.zeros((sides, 3))
    corners[:, (axis + 1) % 3], corners[:, (axis + 2) % 3] = np.cos(angle) * radius, np.sin(angle) * radius
    return Face(corners + center, paint)


def wheels(width: float, positions: list[float], radius: float, thickness: float = 0.24) -> list[Solid]:
    """Pairs of wheels at the given places along Z under a body of the given width."""
    solids: list[Solid] = []
    for z in positions:
        for side in (-1, 1):
            hub = np.array([side * (width / 2 - thickness / 2 + 0.02), radius, z])
            solids.append(Cylinder(hub, radius, thickness, 0, plain(RUBBER)))
            rim = hub + np.array([side * thickness / 2, 0, 0])
            solids.append(disc(rim, radius, 0, plain(RUBBER)))
            solids.append(disc(rim + np.array([side * 0.01, 0, 0]), radius * 0.55, 0, plain(STEEL), sides=8))
    return solids


def footprint(width: float, length: float) -> Array:
    """(4, 2) X and Z of a rectangle on the ground."""
    return rectangle(width, length, 0.0)[:, [0, 2]]
