"""The stage: road, pavement and what lines them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.classes import IGNORE, TRAIN_ID
from mtl_d2.data.sample_scenes.markings import NO_LANE, PERIOD, Markings
from mtl_d2.data.sample_scenes.models import furniture
from mtl_d2.data.sample_scenes.models.shapes import footprint
from mtl_d2.data.sample_scenes.paints import Color, Grain, facade, foliage, grainy
from mtl_d2.data.sample_scenes.presets import Preset
from mtl_d2.data.sample_scenes.render import SceneObject
from mtl_d2.data.sample_scenes.solids import Face, Paint, Pose

LANE, KERB, END = 3.4, 0.13, 170.0  # metres: width of a lane, height of the pavement, where the street ends
WALLS: tuple[Color, ...] = (
    (0.55, 0.4, 0.3),
    (0.6, 0.5, 0.36),
    (0.5, 0.28, 0.2),
    (0.46, 0.42, 0.38),
    (0.62, 0.56, 0.46),
)
LEAVES: tuple[Color, ...] = ((0.16, 0.34, 0.08), (0.22, 0.38, 0.1), (0.12, 0.28, 0.1))


class Street(NamedTuple):
    """Widths of a street, metres; the camera stands at X = 0.

    Attributes:
        lanes: X of the middles of the lanes, with the direction of travel: +1 away from the camera, -1 towards it.
        edges: X of the left and the right kerb.
        pavement: width of the pavements.
        parking: width of the strip for parked cars at each kerb, 0 = none.
    """

    lanes: tuple[tuple[float, int], ...]
    edges: tuple[float, float]
    pavement: float
    parking: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Road(SceneObject):
    """The ground between the kerbs.

    Attributes:
        markings: what is painted on it.
    """

    markings: Markings


def sample_street(preset: Preset, generator: np.random.Generator) -> Street:
    """Draws the widths."""
    ahead, oncoming = int(generator.integers(1, 3)), int(generator.integers(1, 3))
    own_lane = int(generator.integers(ahead))  # the camera's lane, counted from the right
    shift = generator.uniform(-0.4, 0.4)
    lanes = [((own_lane - k) * LANE + shift, 1) for k in range(ahead)]
    lanes += [((own_lane - ahead - k) * LANE + shift, -1) for k in range(oncoming)]
    parking = 2.3 if generator.random() < 0.4 else 0.3
    xs = [x for x, _ in lanes]
    edges = (min(xs) - LANE / 2 - parking, max(xs) + LANE / 2 + parking)
    return Street(tuple(lanes), edges, generator.uniform(2.4, 4.5), parking if parking > 1 else 0.0)


def build_stage(
    street: Street, preset: Preset, night: bool, generator: np.random.Generator, grain: Grain
) -> list[SceneObject]:
    """Ground, houses, trees, walls and fences of a street, and what closes it at the end."""
    objects: list[SceneObject] = [_road(street, generator, grain)]
    for side in (-1, 1):
        edge = street.edges[0] if side < 0 else street.edges[1]
        grassy = generator.random() < preset.terrain
        objects += _pavement(edge, side, street.pavement, grassy, grain, generator)
        objects += _line(
            edge + side * (street.pavement + (3.5 if grassy else 0.2)), side, preset, night, generator, grain
        )
        objects += _clutter(edge, side, street, preset, generator, grain)
    objects.append(_backdrop(generator, grain))
    return objects


def _flat(left: float, right: float, level: float, paint: Paint, semantic: str, start: float = -2.0) -> SceneObject:
    corners = np.array([[left, level, start], [right, level, start], [right, level, END], [left, level, END]])
    return SceneObject([Face(corners, paint)], Pose(np.zeros(3)), TRAIN_ID[semantic])


def _road(street: Street, generator: np.random.Generator, grain: Grain) -> Road:
    left, right = street.edges
    tone = generator.uniform(0.1, 0.2)
    xs = sorted(x for x, _ in street.lanes)
    outer = (xs[0] - LANE / 2, xs[-1] + LANE / 2)
    directions = dict(street.lanes)
    borders = tuple(((a + b) / 2, directions[a] != directions[b]) for a, b in pairwise(xs))
    phase = generator.uniform(0, PERIOD)
    crossing = generator.uniform(9, 30) if generator.random() < 0.3 else np.inf
    markings = Markings(outer, borders, phase, crossing)

    def paint(u: Array, v: Array) -> tuple[Array, float]:
        x, z = u + left, v - 2.0
        value = tone * (1 + 0.35 * grain(x, z, 12.0) + 0.25 * grain(x, z, 0.7, soft=True))
        white = markings.values(x, z) != NO_LANE
        value[white] = 0.7 * (1 + 0.2 * grain(x[white], z[white], 12.0))
        return value[:, None] * np.array([1.0, 1.0, 1.04], dtype=np.float32), 0.0

    flat = _flat(left, right, 0.0, paint, "road")
    return Road(flat.solids, flat.pose, flat.semantic, markings=markings)


def _pavement(
    edge: float, side: int, width: float, grassy: bool, grain: Grain, generator: np.random.Generator
) -> list[SceneObject]:
    tone = generator.uniform(0.34, 0.46)

    def slabs(u: Array, v: Array) -> tuple[Array, float]:
        joint = (u % 0.9 < 0.05) | (v % 0.9 < 0.05)
        value = tone * (1 + 0.2 * grain(u, v, 9.0) + 0.25 * grain(u, v, 1.1)) * np.where(joint, 0.75, 1)
        return value[:, None] * np.array([1.0, 0.9, 0.84], dtype=np.float32), 0.0

    def span(start: float, end: float) -> tuple[float, float]:
        return min(edge + side * start, edge + side * end), max(edge + side * start, edge + side * end)

    kerb = np.array([[edge, 0, -2], [edge, 0, END], [edge, KERB, END], [edge, KERB, -2]])
    stone = grainy((0.5, 0.48, 0.46), grain, 0.3, 4.0)
    objects = [SceneObject([Face(kerb, stone)], Pose(np.zeros(3)), TRAIN_ID["sidewalk"])]
    objects.append(_flat(*span(0, width), KERB, slabs, "sidewalk"))
    if grassy:
        grass = grainy((0.28, 0.36, 0.1), grain, 0.7, 6.0)
        objects.append(_flat(*span(width, 40), KERB, grass, "terrain"))
    else:
        objects.append(_flat(*span(width, 40), KERB, slabs, "sidewalk"))
    return objects


def _line(
    edge: float, side: int, preset: Preset, night: bool, generator: np.random.Generator, grain: Grain
) -> list[SceneObject]:
    """Houses, trees, walls or fences along one side, from the camera to the end of the street."""
    objects: list[SceneObject] = []
    weights = np.array(preset.scenery) / sum(preset.scenery)
    z = generator.uniform(-4, 2)
    while z < 0.8 * END:
        length = float(generator.uniform(9, 20))
        kind = ("building", "vegetation", "wall", "fence")[int(generator.choice(4, p=weights))]
        middle = z + length / 2
        if kind == "building":
            objects.append(_house(edge, side, middle, length, night, generator, grain))
        else:
            objects += _green(edge, side, middle, length, kind, generator, grain)
        z += length + (generator.uniform(0, 5) if generator.random() < 0.3 else 0.0)
    return objects


def _house(
    edge: float, side: int, z: float, length: float, night: bool, generator: np.random.Generator, grain: Grain
) -> SceneObject:
    height, width = float(generator.uniform(5, 17)), float(generator.uniform(7, 12))
    color = WALLS[int(generator.integers(len(WALLS)))]
    tint = tuple(float(c) for c in np.array(color) * generator.uniform(0.8, 1.2) + generator.uniform(-0.03, 0.03, 3))
    lit = float(generator.uniform(0.2, 0.5)) if night else 0.0
    walls = facade(
        (tint[0], tint[1], tint[2]),
        (0.1, 0.13, 0.17),
        3.0,
        float(generator.uniform(2.2, 3.4)),
        lit,
        grain,
        int(generator.integers(99)),
    )
    roof = grainy((0.32, 0.13, 0.09), grain, 0.5, 4.0)
    solids = furniture.house(width, height, length, (walls, roof), bool(generator.random() < 0.5))
    pose = Pose(np.array([edge + side * width / 2, KERB, z]))
    return SceneObject(solids, pose, TRAIN_ID["building"])


def _green(
    edge: float, side: int, z: float, length: float, kind: str, generator: np.random.Generator, grain: Grain
) -> list[SceneObject]:
    """Trees behind a hedge, a wall or a fence."""
    objects = []
    for _ in range(max(1, int(length / 4.5))):
        pose = Pose(np.array([edge + side * generator.uniform(2, 5), KERB, z + generator.uniform(-0.5, 0.5) * length]))
        solids = furniture.tree(generator, float(generator.uniform(4.5, 9)), LEAVES[int(generator.integers(3))], grain)
        objects.append(SceneObject(solids, pose, TRAIN_ID["vegetation"]))
    front = {
        "vegetation": lambda: furniture.bush(generator, length, float(generator.uniform(1.4, 2.4)), LEAVES[1], grain),
        "wall": lambda: furniture.wall(length, float(generator.uniform(1.2, 2.2)), (0.45, 0.43, 0.42), grain),
        "fence": lambda: furniture.fence(length, float(generator.uniform(1.1, 1.8)), (0.35, 0.25, 0.18)),
    }[kind]()
    pose = Pose(np.array([edge + side * 0.6, KERB, z]))
    objects.append(SceneObject(front, pose, TRAIN_ID[kind]))
    return objects


def _clutter(
    edge: float, side: int, street: Street, preset: Preset, generator: np.random.Generator, grain: Grain
) -> list[SceneObject]:
    """Lamp posts and poles at the kerb, trees and bins further in."""
    objects = []
    for _ in range(int(generator.integers(preset.clutter + 1))):
        z, radius = float(generator.uniform(7, 45)), float(generator.uniform(*preset.pole_radius))
        solids = furniture.lamp_post(float(generator.uniform(5, 7)), radius, -side * 1.4)
        pose = Pose(np.array([edge + side * 0.5, KERB, z]))
        objects.append(SceneObject(solids, pose, TRAIN_ID["pole"]))
    for _ in range(int(generator.integers(preset.clutter + 1))):
        pose = Pose(np.array([edge + side * 1.0, KERB, generator.uniform(9, 50)]))
        solids = furniture.tree(generator, float(generator.uniform(4, 7)), LEAVES[int(generator.integers(3))], grain)
        objects.append(SceneObject(solids, pose, TRAIN_ID["vegetation"], footprint=footprint(0.6, 0.6), height=5.0))
    if generator.random() < 0.12 * preset.clutter:
        pose = Pose(np.array([edge + side * (street.pavement - 0.6), KERB, generator.uniform(7, 25)]))
        color = (0.1, 0.22, 0.14) if generator.random() < 0.5 else (0.4, 0.22, 0.08)
        objects.append(
            SceneObject(furniture.litter_bin(color), pose, IGNORE, footprint=footprint(0.6, 0.6), height=1.0)
        )
    return objects


def _backdrop(generator: np.random.Generator, grain: Grain) -> SceneObject:
    """A wooded hill where the street ends, so that the ground meets no bare sky."""
    height = float(generator.uniform(9, 22))
    paint = foliage((0.13, 0.25, 0.1), grain)
    corners = np.array([[-250, -1, END - 1], [250, -1, END - 1], [180, height, END - 1], [-180, height, END - 1]])
    return SceneObject([Face(corners, paint)], Pose(np.zeros(3)), TRAIN_ID["vegetation"])
