"""BDD100K: objects, drivable areas and lanes on the images of ``100k``, semantic masks on those of ``10k``.

``images/{100k,10k}/SPLIT/NAME.jpg``, ``labels/det_20/det_SPLIT.json``, and ``NAME.png`` in
``labels/{drivable,lane,sem_seg}/masks/SPLIT``. A split of N scenes is divided: the first ceil(N / 2) are the 100k
images, the others the 10k images; no image is in both.

Boxes follow Scalabel, in which BDD100K is published: x2 and y2 are the last pixel that belongs to the box, so that its
width is x2 - x1 + 1. A frame without objects has no ``labels``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtl_d2.data.sample_scenes.files import write_image, write_json
from mtl_d2.data.sample_scenes.scene import Instance, Scene


def detection_images(total: int) -> int:
    """How many of a split's scenes are labelled for detection."""
    return (total + 1) // 2


def write(folder: Path, split: str, index: int, total: int, scene: Scene) -> dict[str, Any] | None:
    """Writes one scene as a 100k or as a 10k image; returns the frame of a 100k image."""
    name = f"{split}-{index:06d}"
    if index >= detection_images(total):
        write_image(folder / "images/10k" / split / f"{name}.jpg", scene.image)
        write_image(folder / "labels/sem_seg/masks" / split / f"{name}.png", scene.semantic)
        return None
    write_image(folder / "images/100k" / split / f"{name}.jpg", scene.image)
    write_image(folder / "labels/drivable/masks" / split / f"{name}.png", scene.road.drivable)
    write_image(folder / "labels/lane/masks" / split / f"{name}.png", scene.road.lane)
    frame: dict[str, Any] = {
        "name": f"{name}.jpg",
        "attributes": {"weather": scene.weather, "timeofday": scene.time, "scene": "city street"},
        "timestamp": 10000,
    }
    if scene.instances:
        frame["labels"] = [_label(thing) for thing in scene.instances]
    return frame


def _label(thing: Instance) -> dict[str, Any]:
    x0, y0, x1, y1 = thing.box
    return {
        "id": str(thing.number - 1),
        "attributes": {
            "occluded": thing.occluded,
            "truncated": thing.truncated,
            "trafficLightColor": thing.light_color,
        },
        "category": thing.category,
        "box2d": {"x1": float(x0), "y1": float(y0), "x2": float(x1 - 1), "y2": float(y1 - 1)},
    }


def finish(folder: Path, split: str, parts: list[dict[str, Any] | None]) -> None:
    """Writes ``det_SPLIT.json``."""
    masks = (f"labels/{kind}/masks" for kind in ("drivable", "lane", "sem_seg"))
    for images in ("images/100k", "images/10k", *masks):
        (folder / images / split).mkdir(parents=True, exist_ok=True)
    write_json(folder / f"labels/det_20/det_{split}.json", [frame for frame in parts if frame is not None])
