"""What stands at the kerb: poles, signs, lights, trees, fences, bins; and the houses behind."""

from __future__ import annotations

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.models.shapes import block, box, rectangle
from mtl_d2.data.sample_scenes.paints import Color, Grain, foliage, grainy, plain
from mtl_d2.data.sample_scenes.solids import Cylinder, Ellipsoid, Face, Paint, Solid

LAMPS: dict[str, tuple[int, Color]] = {
    "G": (0, (0.1, 1.0, 0.35)),
    "Y": (1, (1.0, 0.75, 0.1)),
    "R": (2, (1.0, 0.1, 0.08)),
}


def pole(height: float, radius: float, color: Color = (0.5, 0.5, 0.5)) -> list[Solid]:
    """An upright pole."""
    return [Cylinder(np.array([0, height / 2, 0]), radius, height, 1, plain(color))]


def lamp_post(height: float, radius: float, reach: float) -> list[Solid]:
    """A street lamp whose arm reaches over the road, to the right where ``reach`` is positive, metres."""
    arm = Cylinder(np.array([reach / 2, height, 0]), radius * 0.7, abs(reach), 0, plain((0.45, 0.45, 0.47)))
    head = Ellipsoid(np.array([reach, height - 0.08, 0]), np.array([0.4, 0.12, 0.18]), plain((0.9, 0.85, 0.7), 0.5))
    return [*pole(height, radius), arm, head]


def traffic_light(height: float, state: str, scale: float) -> list[Solid]:
    """A box with three lamps that looks along the object's -Z.

    Args:
        height: of its middle, metres.
        state: which lamp shines, ``G``, ``Y`` or ``R``.
        scale: 1 = a body of 0.36 by 1.0 metres.
    """
    tall, wide = 1.0 * scale, 0.36 * scale
    lit, color = LAMPS[state]

    def front(u: Array, v: Array) -> tuple[Array, Array]:
        albedo = np.full((len(u), 3), 0.06, dtype=np.float32)
        emission = np.zeros(len(u), dtype=np.float32)
        for k, (_, shade) in enumerate(LAMPS.values()):
            inside = (u - wide / 2) ** 2 + (v - tall * (k + 0.5) / 3) ** 2 < (0.4 * wide) ** 2
            albedo[inside] = color if k == lit else np.multiply(shade, 0.15)
            emission[inside] = 1.2 if k == lit else 0.0
        return albedo, emission

    return box((wide, tall, wide * 0.8), height - tall / 2, plain((0.1, 0.1, 0.09)), {"rear": front})


def sign(kind: str, height: float, radius: float) -> list[Solid]:
    """A plate that looks along the object's -Z.

    Args:
        kind: ``stop``, ``limit``, ``warning`` or ``info``.
        height: of its middle, metres.
        radius: half of its size, metres.
    """
    sides, rim, field = {
        "stop": (8, (0.9, 0.9, 0.9), (0.8, 0.04, 0.05)),
        "limit": (16, (0.85, 0.05, 0.05), (0.92, 0.92, 0.9)),
        "warning": (3, (0.85, 0.05, 0.05), (0.95, 0.8, 0.1)),
        "info": (4, (0.92, 0.92, 0.95), (0.05, 0.2, 0.8)),
    }[kind]
    turn = {"warning": np.pi / 2, "info": np.pi / 4, "stop": np.pi / 8, "limit": 0.0}[kind]
    angle = turn + np.arange(sides) * 2 * np.pi / sides

    def plate(size: float, depth: float, paint: Paint) -> Face:
        corners = np.stack([np.cos(angle) * size, height + np.sin(angle) * size, np.full(sides, depth)], 1)
        return Face(corners, paint)

    solids: list[Solid] = [plate(radius, 0.0, plain(rim)), plate(radius * 0.76, -0.012, plain(field))]
    if kind == "limit":
        mark = box((radius * 0.7, radius * 0.55, 0.02), height - radius * 0.27, plain((0.05, 0.05, 0.05)))
        solids += [Face(m.corners - [0, 0, 0.02], m.paint, m.inside) for m in mark if isinstance(m, Face)][:1]
    return [*solids, plate(radius, 0.02, plain((0.45, 0.45, 0.47)))]


def tree(generator: np.random.Generator, height: float, color: Color, grain: Grain) -> list[Solid]:
    """A trunk under some balls of leaves."""
    crown = 0.3 * height
    solids: list[Solid] = [
        Cylinder(np.array([0, 0.3 * height, 0]), 0.045 * height * 0.6, 0.6 * height, 1, plain((0.3, 0.2, 0.12)))
    ]
    for _ in range(4):
        middle = generator.uniform([-0.5, -0.35, -0.4], [0.5, 0.6, 0.4]) * crown + [0, 0.66 * height, 0]
        radii = generator.uniform(0.6, 0.95, 3) * crown
        solids.append(Ellipsoid(middle, radii, foliage(color, grain)))
    return solids


def bush(generator: np.random.Generator, length: float, height: float, color: Color, grain: Grain) -> list[Solid]:
    """A hedge along Z."""
    count = max(2, int(length / 1.2))
    return [
        Ellipsoid(
            np.array([generator.uniform(-0.2, 0.2), height * 0.4, z]),
            np.array([0.7, height * generator.uniform(0.5, 0.65), 1.0]),
            foliage(color, grain),
        )
        for z in np.linspace(-length / 2, length / 2, count)
    ]


def fence(length: float, height: float, color: Color) -> list[Solid]:
    """Bars along Z with air between them."""

    def bars(u: Array, v: Array) -> Array:
        rail = (np.abs(v - 0.15) < 0.06) | (np.abs(v - height + 0.15) < 0.06)
        return rail | (u / 0.3 - np.floor(u / 0.3) < 0.4)

    corners = np.array([[0, 0, -length / 2], [0, 0, length / 2], [0, height, length / 2], [0, height, -length / 2]])
    return [Face(corners, plain(color), None, bars)]


def wall(length: float, height: float, color: Color, grain: Grain) -> list[Solid]:
    """A garden wall along Z."""
    return box((0.3, height, length), 0.0, grainy(color, grain, 0.4, 4.0))


def litter_bin(color: Color) -> list[Solid]:
    """A bin, wider at the top."""
    return block(rectangle(0.5, 0.5, 0.0), rectangle(0.65, 0.65, 1.0), plain(color))


def house(width: float, height: float, length: float, paints: tuple[Paint, Paint], pitched: bool) -> list[Solid]:
    """A house.

    Args:
        width: across the street, metres.
        height: of the walls, metres.
        length: along the street, metres.
        paints: walls and roof.
        pitched: a roof with a ridge along the street instead of a flat one.
    """
    walls, roof = paints
    solids = box((width, height, length), 0.0, walls, {"roof": roof})
    if pitched:
        bottom = rectangle(width + 0.4, length + 0.2, height)
        solids += block(bottom, rectangle(0.5, length + 0.2, height + 0.3 * width), roof)
    return solids
