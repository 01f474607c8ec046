"""People, and the bicycles and motorcycles that some of them ride."""

from __future__ import annotations

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.models.shapes import RUBBER, STEEL, box, disc
from mtl_d2.data.sample_scenes.paints import Color, plain
from mtl_d2.data.sample_scenes.solids import Cylinder, Ellipsoid, Face, Solid

SKIN, HAIR = (0.72, 0.5, 0.38), (0.12, 0.09, 0.07)


def _limb(center: tuple[float, float, float], radii: tuple[float, float, float], color: Color) -> Ellipsoid:
    return Ellipsoid(np.array(center), np.array(radii), plain(color))


def pedestrian(shirt: Color, trousers: Color, height: float, breadth: float, stride: float) -> list[Solid]:
    """Somebody who walks along the object's Z.

    Args:
        shirt: colour of the upper body.
        trousers: colour of the legs.
        height: metres.
        breadth: 1 = a slim adult.
        stride: how far the legs are apart, -1..1.
    """
    h, b, s = height, breadth, 0.15 * stride
    solids: list[Solid] = []
    for side, step in ((-1, s), (1, -s)):
        x = 0.1 * b * side
        solids.append(Cylinder(np.array([x, 0.25 * h, step]), 0.085 * b, 0.5 * h, 1, plain(trousers)))
        solids.append(_limb((x, 0.03 * h, step + 0.05), (0.085 * b, 0.04 * h, 0.14 * b), RUBBER))
        solids.append(_limb((0.25 * b * side, 0.61 * h, step), (0.065 * b, 0.18 * h, 0.075 * b), shirt))
    return [
        *solids,
        _limb((0, 0.48 * h, 0), (0.185 * b, 0.07 * h, 0.12 * b + abs(s) / 2), trousers),
        _limb((0, 0.66 * h, 0), (0.215 * b, 0.19 * h, 0.14 * b), shirt),
        _limb((0, 0.91 * h, 0), (0.1 * b, 0.078 * h, 0.11 * b), SKIN),
        _limb((0, 0.94 * h, -0.04 * b), (0.1 * b, 0.06 * h, 0.1 * b), HAIR),
    ]


def rider(shirt: Color, trousers: Color, helmet: Color, seat: float) -> list[Solid]:
    """Somebody who sits on a saddle at the given height and holds on ahead."""
    return [
        _limb((0, seat + 0.33, 0.02), (0.21, 0.36, 0.15), shirt),
        _limb((-0.26, seat + 0.36, 0.25), (0.06, 0.07, 0.28), shirt),
        _limb((0.26, seat + 0.36, 0.25), (0.06, 0.07, 0.28), shirt),
        _limb((-0.14, seat - 0.2, 0.16), (0.08, 0.32, 0.15), trousers),
        _limb((0.14, seat - 0.12, 0.16), (0.08, 0.32, 0.15), trousers),
        _limb((0, seat + 0.78, 0.08), (0.1, 0.13, 0.11), SKIN),
        _limb((0, seat + 0.84, 0.06), (0.125, 0.1, 0.14), helmet),
    ]


def _bar(start: tuple[float, float], end: tuple[float, float], color: Color, thick: float = 0.045) -> Face:
    """A bar in the plane X = 0 from (z, y) to (z, y)."""
    a, b = np.array([0, start[1], start[0]]), np.array([0, end[1], end[0]])
    along = (b - a) / np.linalg.norm(b - a)
    across = np.array([0, -along[2], along[1]]) * thick
    return Face(np.stack([a - across, b - across, b + across, a + across]), plain(color))


def bicycle(color: Color) -> list[Solid]:
    """A bicycle."""
    solids: list[Solid] = []
    for z in (-0.52, 0.52):
        solids.append(_tyre(z, 0.34))
        solids += box((0.07, 0.66, 0.03), 0.01, plain(RUBBER), middle=(0.0, z))
    crank, saddle, head = (-0.08, 0.3), (-0.22, 0.85), (0.4, 0.85)
    pairs = ((crank, saddle), (crank, head), (saddle, head), ((-0.52, 0.34), crank), ((0.52, 0.34), (0.38, 0.98)))
    solids += [_bar(a, b, color) for a, b in pairs]
    solids.append(_limb((0, 0.9, -0.24), (0.08, 0.04, 0.14), RUBBER))
    solids.append(_limb((0, 1.0, 0.38), (0.28, 0.035, 0.04), STEEL))
    return solids


def _tyre(z: float, radius: float) -> Face:
    """A ring in the plane X = 0."""
    wheel = disc(np.array([0.0, radius, z]), radius, 0, plain(RUBBER), sides=16)
    corners = wheel.corners
    origin = corners[0]
    u_axis = (corners[1] - origin) / np.linalg.norm(corners[1] - origin)
    v_axis = corners[-1] - origin
    v_axis = v_axis - u_axis * (v_axis @ u_axis)
    v_axis /= np.linalg.norm(v_axis)
    middle = np.array([0.0, radius, z]) - origin
    mu, mv = float(middle @ u_axis), float(middle @ v_axis)

    def ring(u: Array, v: Array) -> Array:
        return (u - mu) ** 2 + (v - mv) ** 2 > (radius - 0.075) ** 2

    return Face(corners, wheel.paint, None, ring)


def motorcycle(color: Color, night: bool) -> list[Solid]:
    """A motorcycle whose lamps shine at night."""
    solids: list[Solid] = []
    for z in (-0.68, 0.68):
        solids.append(Cylinder(np.array([0, 0.31, z]), 0.31, 0.16, 0, plain(RUBBER)))
        solids += [disc(np.array([x, 0.31, z]), 0.31, 0, plain(RUBBER)) for x in (-0.08, 0.08)]
        solids += [disc(np.array([x, 0.31, z]), 0.17, 0, plain(STEEL), 8) for x in (-0.085, 0.085)]
    solids += [
        _limb((0, 0.48, 0), (0.2, 0.22, 0.5), (0.12, 0.12, 0.13)),
        _limb((0, 0.78, 0.18), (0.19, 0.17, 0.38), color),
        _limb((0, 0.78, -0.42), (0.16, 0.09, 0.4), RUBBER),
        _limb((0, 0.72, 0.62), (0.17, 0.25, 0.16), color),
        _limb((0, 1.05, 0.5), (0.36, 0.04, 0.05), STEEL),
    ]
    glow = 1.4 if night else 0.4
    solids.append(Ellipsoid(np.array([0, 0.8, 0.74]), np.array([0.1, 0.1, 0.08]), plain((1, 0.97, 0.85), 2 * glow)))
    solids.append(Ellipsoid(np.array([0, 0.72, -0.8]), np.array([0.12, 0.07, 0.06]), plain((0.9, 0.05, 0.03), glow)))
    return solids
