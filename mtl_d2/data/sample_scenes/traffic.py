"""Who and what is in the street: sampled one category after another, placed where there is room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtl_d2.data.sample_scenes.camera import Camera
from mtl_d2.data.sample_scenes.classes import SEMANTIC_OF_DETECTION, TRAIN_ID
from mtl_d2.data.sample_scenes.models import furniture, people, vehicles
from mtl_d2.data.sample_scenes.models.shapes import footprint, rectangle
from mtl_d2.data.sample_scenes.paints import Color
from mtl_d2.data.sample_scenes.presets import Preset
from mtl_d2.data.sample_scenes.render import SceneObject
from mtl_d2.data.sample_scenes.solids import Pose, Solid
from mtl_d2.data.sample_scenes.street import KERB, Street

# Hues of the telling colours: around these, RGB.
TELLING: dict[str, tuple[Color, ...]] = {
    "car": ((0.7, 0.06, 0.05), (0.75, 0.12, 0.04), (0.6, 0.03, 0.1)),
    "truck": ((0.08, 0.2, 0.65), (0.1, 0.3, 0.7)),
    "bus": ((0.85, 0.6, 0.04), (0.8, 0.52, 0.02)),
    "pedestrian": ((0.7, 0.08, 0.6), (0.55, 0.1, 0.7), (0.8, 0.2, 0.55)),
}
NATURAL: tuple[Color, ...] = (
    (0.04, 0.04, 0.05),
    (0.3, 0.31, 0.33),
    (0.6, 0.61, 0.63),
    (0.75, 0.75, 0.73),
    (0.5, 0.05, 0.05),
    (0.06, 0.12, 0.4),
    (0.1, 0.25, 0.15),
    (0.5, 0.35, 0.1),
    (0.25, 0.15, 0.3),
)
TRIES = 25


class Traffic:
    """Places objects in a street until the preset's numbers are reached or there is no more room."""

    def __init__(
        self, preset: Preset, street: Street, camera: Camera, night: bool, generator: np.random.Generator
    ) -> None:
        self.objects: list[SceneObject] = []
        self._preset, self._street, self._camera = preset, street, camera
        self._night, self._generator = night, generator
        self._taken: list[tuple[float, float, float]] = []  # X, Z and radius of what stands on the ground
        self._boxes: list[tuple[float, float, float, float]] = []
        self._makers: dict[str, Callable[[float], bool]] = {
            "car": self._car,
            "truck": self._truck,
            "bus": self._bus,
            "train": self._train,
            "pedestrian": self._pedestrian,
            "bicycle": self._bicycle,
            "motorcycle": self._motorcycle,
            "traffic light": self._traffic_light,
            "traffic sign": self._sign,
        }

    def fill(self) -> list[SceneObject]:
        """Places what the preset asks for and returns it."""
        for category, crowd in self._preset.crowds.items():
            if self._generator.random() >= crowd.chance:
                continue
            for _ in range(int(self._generator.integers(1, crowd.most + 1))):
                for _ in range(TRIES):
                    distance = np.exp(self._uniform(np.log(crowd.near), np.log(crowd.far)))
                    if self._makers[category](float(distance)):
                        break
        return self.objects

    def _uniform(self, low: float, high: float) -> float:
        return float(self._generator.uniform(low, high))

    def _color(self, category: str) -> Color:
        choices = TELLING[category] if self._preset.telling_colors and category in TELLING else NATURAL
        base = np.array(choices[int(self._generator.integers(len(choices)))])
        r, g, b = np.clip(base * self._uniform(0.85, 1.2) + self._generator.uniform(-0.02, 0.02, 3), 0.02, 0.95)
        return float(r), float(g), float(b)

    def _room(self, pose: Pose, size: tuple[float, float, float], level: float = 0.0) -> bool:
        """Whether an upright box of (width, height, length) is free on the ground, in view, and not too hidden."""
        width, height, length = size
        x, _, z = pose.position
        reach = 0.5 * max(width, length)
        if any(np.hypot(x - a, z - b) < reach + r for a, b, r in self._taken):
            return False
        floor = rectangle(width, length, level)
        box = self._camera.box(pose.to_world(np.concatenate([floor, floor + np.array([0, height, 0])])))
        if box is None or not self._framed(box):
            return False
        if any(_overlap(box, placed) > self._preset.overlap for placed in self._boxes):
            return False
        self._boxes.append(box)
        self._taken.append((float(x), float(z), reach if level < 1 else 0.2))
        return True

    def _framed(self, box: tuple[float, float, float, float]) -> bool:
        """At least 60 % of the box within the image; all but a quarter where the preset keeps objects apart."""
        whole = max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)
        across = min(box[2], self._camera.width) - max(box[0], 0)
        down = min(box[3], self._camera.height) - max(box[1], 0)
        least = 0.75 if self._preset.overlap < 0.5 else 0.4
        return across > 0 and down > 0 and across * down / whole >= least

    def _add(
        self,
        solids: list[Solid],
        pose: Pose,
        category: str,
        size: tuple[float, float, float] | None = None,
        **more: str,
    ) -> None:
        base = footprint(size[0], size[2]) if size else None
        height = size[1] if size else 0.0
        semantic = SEMANTIC_OF_DETECTION[category]
        self.objects.append(SceneObject(solids, pose, semantic, category, base, height, **more))

    def _on_road(self, z: float, wild: float = 0.0) -> Pose:
        """A pose in a lane, now and then across it, or in the parking strip."""
        lanes = self._street.lanes
        x, direction = lanes[int(self._generator.integers(len(lanes)))]
        heading = 0.0 if direction > 0 else np.pi
        if self._street.parking and self._generator.random() < 0.35:
            side = int(self._generator.integers(2))
            x = self._street.edges[side] + (1.1 if side == 0 else -1.1)
        elif self._generator.random() < wild:
            heading = np.pi / 2 if self._generator.random() < 0.5 else -np.pi / 2
        heading += self._generator.normal() * 0.06
        return Pose(np.array([x + self._uniform(-0.3, 0.3), 0.0, z]), float(heading))

    def _on_pavement(self, z: float, inset: tuple[float, float], heading: float) -> Pose:
        side = int(self._generator.integers(2))
        offset = self._uniform(*inset) * (-1 if side == 0 else 1)
        return Pose(np.array([self._street.edges[side] + offset, KERB, z]), heading)

    def _car(self, z: float) -> bool:
        size = (self._uniform(1.7, 1.9), self._uniform(1.4, 1.75), self._uniform(3.8, 4.7))
        pose = self._on_road(z + size[2] / 2, wild=0.25)
        if not self._room(pose, size):
            return False
        self._add(vehicles.car(self._color("car"), size, self._night), pose, "car", size)
        return True

    def _truck(self, z: float) -> bool:
        size = (self._uniform(2.3, 2.5), self._uniform(2.9, 3.6), self._uniform(6, 9))
        pose = self._on_road(z + size[2] / 2, wild=0.15)
        if not self._room(pose, size):
            return False
        white = (0.8, 0.82, 0.84)
        cargo = white if self._preset.telling_colors or self._generator.random() < 0.5 else self._color("truck")
        self._add(vehicles.truck(self._color("truck"), cargo, size, self._night), pose, "truck", size)
        return True

    def _bus(self, z: float) -> bool:
        size = (self._uniform(2.4, 2.55), self._uniform(2.9, 3.3), self._uniform(8, 12))
        pose = self._on_road(z + size[2] / 2, wild=0.15)
        if not self._room(pose, size):
            return False
        self._add(vehicles.bus(self._color("bus"), size, self._night), pose, "bus", size)
        return True

    def _train(self, z: float) -> bool:
        size = (2.5, 3.4, self._uniform(16, 24))
        pose = self._on_road(z + size[2] / 2)
        if not self._room(pose, size):
            return False
        self._add(vehicles.train(self._color("train"), size, self._night), pose, "train", size)
        return True

    def _pedestrian(self, z: float) -> bool:
        height, breadth = self._uniform(1.55, 1.9), self._preset.breadth * self._uniform(0.9, 1.15)
        if self._generator.random() < 0.35:
            turn = np.pi / 2 if self._generator.random() < 0.5 else -np.pi / 2
            pose = Pose(np.array([self._uniform(*self._street.edges), 0.0, z]), float(turn))
        else:
            pose = self._on_pavement(z, (0.5, self._street.pavement - 0.4), float(self._generator.integers(2) * np.pi))
        size = (0.6 * breadth, height, 0.5 * breadth)
        if not self._room(pose, size):
            return False
        trousers = (0.08, 0.09, 0.2) if self._preset.telling_colors else self._color("trousers")
        solids = people.pedestrian(self._color("pedestrian"), trousers, height, breadth, self._uniform(-1, 1))
        self._add(solids, pose, "pedestrian", size)
        return True

    def _bicycle(self, z: float) -> bool:
        return self._two_wheeler(z, "bicycle", people.bicycle(self._color("bicycle")), 0.92, 1.8)

    def _motorcycle(self, z: float) -> bool:
        return self._two_wheeler(z, "motorcycle", people.motorcycle(self._color("motorcycle"), self._night), 0.82, 2.1)

    def _two_wheeler(self, z: float, category: str, solids: list[Solid], seat: float, length: float) -> bool:
        """Ridden in the road or parked on the pavement."""
        ridden = self._generator.random() < 0.65
        pose = self._on_road(z, wild=0.3) if ridden else self._on_pavement(z, (0.6, 1.6), self._uniform(0, 2 * np.pi))
        if not self._room(pose, (0.6, 1.75 if ridden else 1.1, length)):
            return False
        self._add(solids, pose, category, (0.4, 1.1, length))
        if ridden:
            suit = (self._color("shirt"), self._color("trousers"), self._color("helmet"))
            self._add(people.rider(*suit, seat), pose, "rider")
        return True

    def _traffic_light(self, z: float) -> bool:
        state = "GYR"[int(self._generator.integers(3))]
        pose = self._on_pavement(z, (0.4, 0.7), self._generator.normal() * 0.15)
        height, scale = self._uniform(2.6, 4.2), self._uniform(0.9, 1.3)
        if not self._room(pose, (0.36 * scale, scale, 0.3 * scale), height - 0.5 * scale):
            return False
        self._add(furniture.traffic_light(height, state, scale), pose, "traffic light", light_color=state)
        self._post(pose, height + 0.3)
        return True

    def _sign(self, z: float) -> bool:
        kind = ("stop", "limit", "warning", "info")[int(self._generator.integers(4))]
        radius, height = self._uniform(*self._preset.sign_radius), self._uniform(2.0, 2.6)
        pose = self._on_pavement(z, (0.4, 0.8), self._generator.normal() * 0.15)
        if not self._room(pose, (2 * radius, 2 * radius, 0.1), height - radius):
            return False
        self._add(furniture.sign(kind, height, radius), pose, "traffic sign", shape=kind)
        self._post(pose, height + 0.3 * radius)
        return True

    def _post(self, pose: Pose, height: float) -> None:
        """The pole behind a sign or a traffic light."""
        radius = self._uniform(*self._preset.pole_radius) * 0.7
        away = pose.rotation @ np.array([0.0, 0.0, radius + 0.25])
        solids = furniture.pole(height, radius)
        self.objects.append(
            SceneObject(solids, Pose(pose.position + away), TRAIN_ID["pole"], None, footprint(0.2, 0.2), height)
        )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Shared area over the smaller of two boxes' areas."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return across * down / max(smaller, 1e-6)
