"""The presets, frozen: a change of any number here is a new ``GENERATOR_VERSION``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Part of the data's identity: the same version, preset, size and seed give the same scenes.
GENERATOR_VERSION = 1


class Crowd(NamedTuple):
    """How many of a category a scene tries to place, and how far away.

    Attributes:
        chance: probability that a scene has any of them, 0..1.
        most: the number is uniform in 1..most then.
        near: metres along the road.
        far: metres along the road.
    """

    chance: float
    most: int
    near: float
    far: float


@dataclass(frozen=True)
class Preset:
    """What kind of street scenes to sample.

    Attributes:
        crowds: by category; categories that are absent do not occur.
        focal: smallest and largest focal length over the image's width.
        overlap: an object may hide, or be hidden, by this share of the smaller bounding box, 0..1.
        smallest: an instance whose visible box has a side below this share of the image's width is not labelled.
        visible: an instance of whose own silhouette less is visible is not labelled, 0..1.
        telling_colors: each category has colours of its own, instead of any.
        breadth: people are this much wider than slim adults.
        sign_radius: metres, smallest and largest.
        pole_radius: metres, smallest and largest.
        times: weights of daytime, dawn/dusk and night.
        noise: standard deviation of the sensor's noise by day, in 0..255.
        haze: smallest and largest distance in metres at which 63 % of the light is scattered.
        scenery: weights of what lines the road: building, vegetation, wall, fence.
        terrain: probability that grass, not pavement, borders the houses.
        clutter: most of poles, lamp posts, street trees and bins of a side.
    """

    crowds: dict[str, Crowd]
    focal: tuple[float, float]
    overlap: float
    smallest: float
    visible: float
    telling_colors: bool
    breadth: float
    sign_radius: tuple[float, float]
    pole_radius: tuple[float, float]
    times: tuple[float, float, float]
    noise: float
    haze: tuple[float, float]
    scenery: tuple[float, float, float, float]
    terrain: float
    clutter: int


PRESETS = {
    "easy": Preset(
        crowds={
            "bus": Crowd(0.55, 1, 10.0, 22.0),
            "truck": Crowd(0.6, 1, 9.0, 20.0),
            "car": Crowd(0.9, 3, 6.0, 17.0),
            "pedestrian": Crowd(0.8, 3, 5.0, 11.0),
            "traffic sign": Crowd(0.75, 2, 6.0, 12.0),
        },
        focal=(0.95, 1.05),
        overlap=0.3,
        smallest=0.025,
        visible=0.35,
        telling_colors=True,
        breadth=1.3,
        sign_radius=(0.5, 0.65),
        pole_radius=(0.12, 0.16),
        times=(1.0, 0.0, 0.0),
        noise=3.0,
        haze=(500.0, 1500.0),
        scenery=(0.6, 0.4, 0.0, 0.0),
        terrain=0.0,
        clutter=1,
    ),
    "hard": Preset(
        crowds={
            "train": Crowd(0.2, 1, 12.0, 60.0),
            "bus": Crowd(0.35, 1, 10.0, 60.0),
            "truck": Crowd(0.4, 2, 9.0, 70.0),
            "car": Crowd(0.97, 9, 6.0, 80.0),
            "motorcycle": Crowd(0.3, 2, 6.0, 35.0),
            "bicycle": Crowd(0.5, 3, 5.0, 35.0),
            "pedestrian": Crowd(0.85, 8, 5.0, 50.0),
            "traffic light": Crowd(0.5, 4, 9.0, 60.0),
            "traffic sign": Crowd(0.85, 5, 7.0, 60.0),
        },
        focal=(0.85, 1.2),
        overlap=0.9,
        smallest=0.012,
        visible=0.1,
        telling_colors=False,
        breadth=1.0,
        sign_radius=(0.25, 0.45),
        pole_radius=(0.05, 0.1),
        times=(0.6, 0.2, 0.2),
        noise=9.0,
        haze=(60.0, 600.0),
        scenery=(0.5, 0.25, 0.1, 0.15),
        terrain=0.5,
        clutter=3,
    ),
}
