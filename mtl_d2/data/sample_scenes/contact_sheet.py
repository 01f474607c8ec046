"""A picture of some scenes and all their labels, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.classes import SEMANTIC
from mtl_d2.data.sample_scenes.scene import Scene

FARTHEST = 80.0  # metres: what is farther is as dark as this in the depth column
COLUMNS = ("image", "boxes", "semantic", "depth", "normals")
BAR = 18  # pixels of the line with the columns' names


def contact_sheet(scenes: Sequence[Scene]) -> Array:
    """One row for each scene: image, boxes, semantics, depth (near is bright), normals. (H, W, 3) uint8, RGB."""
    rows = [
        np.concatenate([scene.image, _boxes(scene), _semantic(scene), _depth(scene), _normals(scene)], 1)
        for scene in scenes
    ]
    width = scenes[0].image.shape[1]
    head = np.full((BAR, width * len(COLUMNS), 3), 255, dtype=np.uint8)
    for k, name in enumerate(COLUMNS):
        cv2.putText(head, name, (k * width + 4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, *rows], 0)


def _boxes(scene: Scene) -> Array:
    picture = scene.image.copy()
    for thing in scene.instances:
        x0, y0, x1, y1 = thing.box
        color = tuple(int(80 + 0.68 * c) for c in SEMANTIC[thing.semantic].color)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), color, 1)
    for thing in scene.instances:
        at = (thing.box[0], max(thing.box[1] - 2, 8))
        cv2.putText(picture, thing.category, at, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 0, 0), 2, cv2.LINE_AA)
        cv2.putText(picture, thing.category, at, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _semantic(scene: Scene) -> Array:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(SEMANTIC)] = [c.color for c in SEMANTIC]
    return table[scene.semantic]


def _depth(scene: Scene) -> Array:
    near = 1 - np.log(np.clip(scene.depth, 2, FARTHEST) / 2) / np.log(FARTHEST / 2)
    levels = np.where(scene.depth > 0, 255 * near, 0).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]


def _normals(scene: Scene) -> Array:
    return (127.5 * (scene.normal * [1, -1, -1] + 1)).astype(np.uint8)
