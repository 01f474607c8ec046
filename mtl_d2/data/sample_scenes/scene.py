"""One scene with all its labels: what the layouts write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array, Camera
from mtl_d2.data.sample_scenes.lighting import Lighting, expose, sample_lighting
from mtl_d2.data.sample_scenes.markings import RoadMaps, road_maps
from mtl_d2.data.sample_scenes.paints import Grain
from mtl_d2.data.sample_scenes.presets import GENERATOR_VERSION, Preset
from mtl_d2.data.sample_scenes.render import SceneObject, Surfaces, render
from mtl_d2.data.sample_scenes.street import LANE, Road, Street, build_stage, sample_street
from mtl_d2.data.sample_scenes.traffic import Traffic

SPLITS = ("train", "val")


class Instance(NamedTuple):
    """A labelled object.

    Attributes:
        number: its value in ``Scene.instance``, from 1.
        category: one of BDD100K's ten.
        semantic: train id of all its pixels.
        box: (x0, y0, x1, y1) pixels, the smallest half-open box around its visible pixels: x1 and y1 are one past.
        area: number of its visible pixels.
        occluded: whether something hides more than a tenth of it.
        truncated: whether it reaches the border of the image.
        light_color: ``G``, ``Y`` or ``R`` of a traffic light, else ``NA``.
        shape: kind of a traffic sign, else empty.
    """

    number: int
    category: str
    semantic: int
    box: tuple[int, int, int, int]
    area: int
    occluded: bool
    truncated: bool
    light_color: str
    shape: str


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and its labels.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        depth: (H, W) metres along the optical axis, 0 = sky.
        normal: (H, W, 3) unit vectors that look towards the camera, x right, y down, z forward; 0 = sky.
        semantic: (H, W) uint8, train ids, 255 = ignore.
        road: its drivable area and lane markings.
        instance: (H, W) int32, 0 = no labelled object, else ``Instance.number``.
        instances: the labelled objects, in the order of their numbers.
        camera: the camera.
        time: BDD100K's ``timeofday``.
        weather: BDD100K's ``weather``.
    """

    image: Array
    depth: Array
    normal: Array
    semantic: Array
    road: RoadMaps
    instance: Array
    instances: tuple[Instance, ...]
    camera: Camera
    time: str
    weather: str


def make_scene(preset: Preset, size: tuple[int, int], seed: int, split: str, index: int) -> Scene:
    """Samples and renders one scene, which depends on the arguments alone.

    Args:
        preset: what to sample.
        size: width and height in pixels.
        seed: of the whole data set, >= 0.
        split: ``train`` or ``val``.
        index: place in the split, from 0.
    """
    generator = np.random.default_rng([GENERATOR_VERSION, seed, SPLITS.index(split), index])
    camera = _sample_camera(preset, size, generator)
    light = sample_lighting(preset, generator)
    grain = Grain(generator)
    night = light.time == "night"
    street = sample_street(preset, generator)
    objects = build_stage(street, preset, night, generator, grain)
    objects += Traffic(preset, street, camera, night, generator).fill()
    surfaces = render(camera, objects, light.sun)
    image = expose(surfaces, camera, light, generator)
    return _label(surfaces, objects, camera, light, preset, image, _road_maps(surfaces, objects, camera, street))


def _sample_camera(preset: Preset, size: tuple[int, int], generator: np.random.Generator) -> Camera:
    width, height = size
    focal = float(generator.uniform(*preset.focal)) * width
    horizon = float(generator.uniform(0.38, 0.48)) * height
    pitch, yaw = (float(a) for a in generator.normal(0, [0.012, 0.03]))
    center = (width / 2, horizon + focal * np.tan(pitch))
    return Camera(width, height, focal, (center[0], float(center[1])), float(generator.uniform(1.3, 1.7)), pitch, yaw)


def _label(
    surfaces: Surfaces,
    objects: list[SceneObject],
    camera: Camera,
    light: Lighting,
    preset: Preset,
    image: Array,
    road: RoadMaps,
) -> Scene:
    smallest = max(2.0, preset.smallest * camera.width)
    instance = np.zeros(surfaces.owner.shape, dtype=np.int32)
    instances: list[Instance] = []
    for index, thing in enumerate(objects):
        if thing.category is None:
            continue
        mask = surfaces.owner == index
        box = tight_box(mask)
        area, whole = int(mask.sum()), int(surfaces.amodal[index])
        if box is None or min(box[2] - box[0], box[3] - box[1]) < smallest or area < preset.visible * whole:
            continue
        number = len(instances) + 1
        instance[mask] = number
        flags = (area < 0.9 * whole, bool(surfaces.cut_off[index]), thing.light_color, thing.shape)
        instances.append(Instance(number, thing.category, thing.semantic, box, area, *flags))
    return Scene(
        image=image,
        depth=surfaces.depth,
        normal=surfaces.normal,
        semantic=surfaces.semantic,
        road=road,
        instance=instance,
        instances=tuple(instances),
        camera=camera,
        time=light.time,
        weather=light.weather,
    )


def _road_maps(surfaces: Surfaces, objects: list[SceneObject], camera: Camera, street: Street) -> RoadMaps:
    ((index, markings),) = ((i, thing.markings) for i, thing in enumerate(objects) if isinstance(thing, Road))
    return road_maps(surfaces.owner == index, surfaces.depth, camera, street.lanes, LANE, markings)


def tight_box(mask: Array) -> tuple[int, int, int, int] | None:
    """The smallest half-open box (x0, y0, x1, y1) around a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
