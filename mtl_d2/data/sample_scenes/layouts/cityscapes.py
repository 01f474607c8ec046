"""Cityscapes: fine labels, polygons, disparity and camera.

``leftImg8bit/SPLIT/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png``, and of the same name stem
``gtFine/..._gtFine_{labelIds,instanceIds}.png``, ``gtFine/..._gtFine_polygons.json``, ``disparity/..._disparity.png``
and ``camera/..._camera.json``.

``gtFine/..._gtFine_labelTrainIds.png``, which Cityscapes' scripts make of a download, are there already.

Disparity is 16 bit: p = 0 is invalid (sky), else the disparity in pixels is (p - 1) / 256 = baseline * fx / depth.
``instanceIds`` is the label id, or 1000 * label id + k for the k-th labelled object of a countable class. ``polygons``
are drawn in the order of the file, later ones over earlier ones; an object that another one cuts in pieces has one
polygon for each piece, so its pieces count as objects of their own where instances are read from the polygons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mtl_d2.data.outlines import pixel_polygons
from mtl_d2.data.sample_scenes.camera import Array
from mtl_d2.data.sample_scenes.classes import SEMANTIC, STATIC_LABEL_ID, semantic_name
from mtl_d2.data.sample_scenes.files import write_image, write_json
from mtl_d2.data.sample_scenes.scene import Scene

BASELINE = 0.209313  # metres between the two cameras
CITIES = {"train": ("altstadt", "neustadt"), "val": ("hafen",)}
FRAME = 19  # Cityscapes labels the 20th frame of each sequence


def write(folder: Path, split: str, index: int, total: int, scene: Scene) -> None:
    """Writes one scene."""
    city = CITIES[split][index % len(CITIES[split])]
    stem = f"{city}_{index:06d}_{FRAME:06d}"

    def at(kind: str, ending: str) -> Path:
        return folder / kind / split / city / f"{stem}_{ending}"

    labels = label_ids(scene.semantic)
    numbered = instance_ids(scene)
    write_image(at("leftImg8bit", "leftImg8bit.png"), scene.image)
    write_image(at("gtFine", "gtFine_labelIds.png"), labels)
    write_image(at("gtFine", "gtFine_labelTrainIds.png"), scene.semantic)
    write_image(at("gtFine", "gtFine_instanceIds.png"), numbered)
    write_json(at("gtFine", "gtFine_polygons.json"), polygons(scene.semantic, numbered))
    write_image(at("disparity", "disparity.png"), disparity(scene))
    write_json(at("camera", "camera.json"), _camera(scene))


def label_ids(semantic: Array) -> Array:
    """(H, W) uint8 train ids to (H, W) uint8 label ids; what is ignored is ``static``."""
    table = np.full(256, STATIC_LABEL_ID, dtype=np.uint8)
    table[: len(SEMANTIC)] = [c.label_id for c in SEMANTIC]
    return table[semantic]


def instance_ids(scene: Scene) -> Array:
    """(H, W) uint16."""
    ids = label_ids(scene.semantic).astype(np.uint16)
    counted: dict[int, int] = {}
    for thing in scene.instances:
        kind = SEMANTIC[thing.semantic]
        if kind.countable:
            k = counted.get(kind.label_id, 0)
            counted[kind.label_id] = k + 1
            ids[scene.instance == thing.number] = 1000 * kind.label_id + k
    return ids


def disparity(scene: Scene) -> Array:
    """(H, W) uint16; see the module."""
    seen = scene.depth > 0
    pixels = BASELINE * scene.camera.focal / np.where(seen, scene.depth, 1)
    return np.where(seen, np.clip(np.rint(pixels * 256 + 1), 1, 65535), 0).astype(np.uint16)


def polygons(semantic: Array, numbered: Array) -> dict[str, Any]:
    """The polygons of every class and object, the largest first: what lies in another's hole is then drawn over it."""
    outlines: list[tuple[float, str, Array]] = []
    keys = numbered.astype(np.int64) * 256 + semantic
    for key in np.unique(keys):
        name = semantic_name(int(key) % 256)
        for outline in pixel_polygons(keys == key):
            outlines.append((_filled(outline), name, outline))
    outlines.sort(key=lambda item: -item[0])
    objects = [{"label": name, "polygon": outline.tolist()} for _, name, outline in outlines]
    return {"imgHeight": semantic.shape[0], "imgWidth": semantic.shape[1], "objects": objects}


def _filled(outline: Array) -> float:
    """Area of an outline with its border pixels, by Pick's theorem: interior + border points."""
    steps = np.abs(np.diff(outline, axis=0, append=outline[:1])).max(1)
    return float(cv2.contourArea(outline)) + float(steps.sum()) / 2 + 1


def _camera(scene: Scene) -> dict[str, Any]:
    camera = scene.camera
    fx, (u0, v0) = camera.focal, camera.center
    place = {"pitch": camera.pitch, "roll": 0.0, "yaw": camera.yaw, "x": 0.0, "y": 0.0, "z": camera.elevation}
    return {
        "extrinsic": {"baseline": BASELINE, **place},
        "intrinsic": {"fx": fx, "fy": fx, "u0": u0, "v0": v0},
    }


def finish(folder: Path, split: str, parts: list[None]) -> None:
    """Cityscapes has no index files."""
    for kind in ("leftImg8bit", "gtFine", "disparity", "camera"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
