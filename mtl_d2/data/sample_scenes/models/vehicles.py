"""Cars, trucks, buses and trains."""

from __future__ import annotations

import numpy as np

from mtl_d2.data.sample_scenes.models.shapes import block, box, rectangle, wheels
from mtl_d2.data.sample_scenes.paints import Color, Patch, patched, plain
from mtl_d2.data.sample_scenes.solids import Paint, Solid

GLASS, CHROME, DARK = (0.07, 0.09, 0.12), (0.6, 0.62, 0.65), (0.09, 0.09, 0.1)
RED_LAMP, WHITE_LAMP, PLATE = (0.85, 0.04, 0.03), (1.0, 0.97, 0.85), (0.85, 0.85, 0.8)


def _ends(color: Color, width: float, height: float, night: bool) -> dict[str, Paint]:
    """Rear and front of a body with lamps, plate and bumper."""
    lamp, low = 0.17 * width, 0.5 * height
    high, foot = min(low + 0.22, height - 0.05), Patch((0, 0, width, 0.18), DARK)
    plate = Patch((0.37 * width, 0.25, 0.63 * width, 0.4), PLATE)
    glow = 1.3 if night else 0.35

    def pair(lamp_color: Color, emission: float) -> list[Patch]:
        return [
            Patch((0.05, low, lamp, high), lamp_color, emission),
            Patch((width - lamp, low, width - 0.05, high), lamp_color, emission),
        ]

    grill = Patch((0.28 * width, low - 0.05, 0.72 * width, high - 0.02), DARK)
    return {
        "rear": patched(color, [foot, plate, *pair(RED_LAMP, glow)]),
        "front": patched(color, [foot, grill, plate, *pair(WHITE_LAMP, 2 * glow)]),
    }


def _glazed(color: Color, width: float, height: float, panes: int = 1) -> Paint:
    """A pane, or several beside one another, in a frame of the body's colour."""
    step = width / panes
    holes = [Patch((k * step + 0.07, 0.06, (k + 1) * step - 0.07, height - 0.06), GLASS) for k in range(panes)]
    return patched(color, holes)


def car(color: Color, size: tuple[float, float, float], night: bool) -> list[Solid]:
    """A car.

    Args:
        color: of the body.
        size: width, height and length in metres.
        night: whether its lamps shine.
    """
    width, height, length = size
    waist = 0.56 * height
    body_height = waist - 0.22
    ends = _ends(color, width, body_height, night)
    flank = patched(
        color, [Patch((0, 0, length, 0.12), DARK), Patch((0, 0.62 * body_height, length, 0.66 * body_height), CHROME)]
    )
    solids = box((width, body_height, length), 0.22, plain(color), {**ends, "left": flank, "right": flank})
    cabin = block(
        rectangle(width * 0.94, length * 0.66, waist, (0, -0.04 * length)),
        rectangle(width * 0.74, length * 0.4, height, (0, -0.06 * length)),
        plain(color),
        {
            "rear": _glazed(color, width * 0.94, 0.44 * height),
            "front": _glazed(color, width * 0.94, 0.44 * height),
            "left": _glazed(color, length * 0.66, 0.44 * height, 2),
            "right": _glazed(color, length * 0.66, 0.44 * height, 2),
        },
    )
    return solids + cabin + wheels(width, [-0.3 * length, 0.3 * length], 0.21 * height)


def truck(cab: Color, cargo: Color, size: tuple[float, float, float], night: bool) -> list[Solid]:
    """A lorry with a closed cargo box; see ``car``."""
    width, height, length = size
    nose = min(2.2, 0.32 * length)
    bed, bay = 0.95, length - nose - 0.15
    stripe = Patch((0, 0.45 * (height - bed), 99, 0.58 * (height - bed)), cab)
    seams = [Patch((k, 0, k + 0.05, 99), DARK) for k in np.arange(1.2, length, 1.2)]
    doors = patched(cargo, [stripe, Patch((width / 2 - 0.04, 0, width / 2 + 0.04, 99), DARK)])
    flank = patched(cargo, [*seams, stripe])
    middle = (0.0, -length / 2 + bay / 2)
    sides = {"rear": doors, "left": flank, "right": flank}
    solids = box((width, height - bed, bay), bed, patched(cargo, []), sides, middle)
    glow = _ends(DARK, width * 0.95, bed - 0.45, night)
    solids += box((width * 0.95, bed - 0.45, bay), 0.45, plain(DARK), glow, middle)
    top = height * 0.8
    face = patched(
        cab,
        [
            Patch((0.12, 0.55 * top, width - 0.12, 0.88 * top), GLASS),
            Patch((0.2 * width, 0.2 * top, 0.8 * width, 0.4 * top), DARK),
            Patch((0.1, 0.1 * top, 0.35, 0.2 * top), WHITE_LAMP, 1.5 if night else 0.5),
            Patch((width - 0.35, 0.1 * top, width - 0.1, 0.2 * top), WHITE_LAMP, 1.5 if night else 0.5),
        ],
    )
    door = patched(cab, [Patch((0.5, 0.55 * top, nose - 0.3, 0.88 * top), GLASS)])
    front = {"front": face, "left": door, "right": door}
    solids += box((width, top - 0.4, nose), 0.4, plain(cab), front, (0.0, length / 2 - nose / 2))
    return solids + wheels(width, [-0.36 * length, -0.2 * length, 0.36 * length], 0.48, 0.35)


def bus(color: Color, size: tuple[float, float, float], night: bool) -> list[Solid]:
    """A city bus with a band of windows; see ``car``."""
    width, height, length = size
    tall = height - 0.35
    low, high = 0.42 * tall, 0.84 * tall
    shine = 0.55 if night else 0.0
    inner = (0.75, 0.7, 0.5) if night else GLASS
    bays = [Patch((k + 0.08, low, k + 1.32, high), inner, shine) for k in np.arange(0.1, length - 1.3, 1.4)]
    skirt = Patch((0, 0, length, 0.22), DARK)
    flank = patched(color, [skirt, Patch((0, 0.3 * tall, length, 0.35 * tall), PLATE), *bays])
    lamps = 1.3 if night else 0.4
    sign = Patch((0.2 * width, 0.87 * tall, 0.8 * width, 0.97 * tall), (0.95, 0.6, 0.1), 0.9)

    def end(lamp: Color, bottom: float) -> Paint:
        pair = [Patch((a, 0.12 * tall, a + 0.3, 0.22 * tall), lamp, lamps) for a in (0.1, width - 0.4)]
        pane = Patch((0.12, bottom * tall, width - 0.12, 0.85 * tall), inner, shine)
        return patched(color, [Patch((0, 0, width, 0.2), DARK), pane, sign, *pair])

    sides = {"left": flank, "right": flank, "rear": end(RED_LAMP, 0.5), "front": end(WHITE_LAMP, 0.33)}
    solids = box((width, tall, length), 0.35, plain(color), sides)
    return solids + wheels(width, [-0.27 * length, 0.33 * length], 0.46, 0.3)


def train(color: Color, size: tuple[float, float, float], night: bool) -> list[Solid]:
    """A tram of two coaches; see ``car``."""
    width, height, length = size
    coach = length / 2 - 0.3
    cream = (0.82, 0.78, 0.66)
    low, high = 0.45 * height, 0.8 * height
    shine = 0.55 if night else 0.0
    panes = [Patch((k + 0.1, low, k + 1.6, high), GLASS, 0.0) for k in np.arange(0.1, coach - 1.6, 1.8)]
    band = Patch((0, 0.38 * height, 99, 0.97 * height), cream)
    flank = patched(color, [Patch((0, 0, 99, 0.25), DARK), band, *panes])
    lamp = Patch((0.42 * width, 0.2 * height, 0.58 * width, 0.27 * height), WHITE_LAMP, 0.5 + shine)
    end = patched(color, [Patch((0, 0, 99, 0.25), DARK), Patch((0.15, low, width - 0.15, 0.85 * height), GLASS), lamp])
    sides = {"left": flank, "right": flank, "rear": end, "front": end}
    solids: list[Solid] = []
    for k in (-1, 1):
        solids += box((width, height - 0.25, coach), 0.25, plain(cream), sides, (0.0, k * (coach / 2 + 0.3)))
    return solids + box((width * 0.8, height - 0.9, 0.6), 0.5, plain(DARK))
