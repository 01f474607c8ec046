"""COCO: ``annotations/instances_{train,val}2017.json`` beside ``{train,val}2017/*.jpg``.

Polygons and ``bbox`` (x, y, width, height) are in COCO's coordinates: pixel (column j, row i) is the square from (j, i)
to (j + 1, i + 1). ``area`` counts the visible pixels. COCO names less than BDD100K: pedestrians and riders are
``person``, and of the signs only stop signs have a category.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtl_d2.data.outlines import coco_polygons
from mtl_d2.data.sample_scenes.files import write_image, write_json
from mtl_d2.data.sample_scenes.layouts.coco_classes import coco_categories
from mtl_d2.data.sample_scenes.scene import SPLITS, Instance, Scene

IDS = {str(c["name"]): int(c["id"]) for c in coco_categories()}
RENAMED = {"pedestrian": "person", "rider": "person"}


def category_id(thing: Instance) -> int | None:
    """COCO's category id, or None where COCO has no category for it."""
    if thing.category == "traffic sign":
        return IDS["stop sign"] if thing.shape == "stop" else None
    return IDS[RENAMED.get(thing.category, thing.category)]


def write(folder: Path, split: str, index: int, total: int, scene: Scene) -> dict[str, Any]:
    """Writes one image; returns its record and its annotations."""
    image_id = 1_000_000 * SPLITS.index(split) + index + 1
    name = f"{image_id:012d}.jpg"
    write_image(folder / f"{split}2017" / name, scene.image)
    height, width = scene.semantic.shape
    annotations = []
    for thing in scene.instances:
        category = category_id(thing)
        if category is not None:
            annotations.append({"image_id": image_id, "category_id": category, **_shape(scene, thing)})
    return {
        "image": {"license": 1, "file_name": name, "height": height, "width": width, "id": image_id},
        "annotations": annotations,
    }


def _shape(scene: Scene, thing: Instance) -> dict[str, Any]:
    x0, y0, x1, y1 = thing.box
    return {
        "segmentation": coco_polygons(scene.instance == thing.number),
        "area": float(thing.area),
        "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
        "iscrowd": 0,
    }


def finish(folder: Path, split: str, parts: list[dict[str, Any]]) -> None:
    """Writes ``instances_SPLIT2017.json``."""
    (folder / f"{split}2017").mkdir(parents=True, exist_ok=True)
    annotations = [a for part in parts for a in part["annotations"]]
    first = 1_000_000_000 * SPLITS.index(split)
    content = {
        "info": {"description": "Rendered street scenes in the layout of COCO 2017", "version": "1.0", "year": 2017},
        "licenses": [{"url": "https://www.apache.org/licenses/LICENSE-2.0", "id": 1, "name": "Apache License 2.0"}],
        "images": [part["image"] for part in parts],
        "annotations": [{"id": first + k + 1, **a} for k, a in enumerate(annotations)],
        "categories": coco_categories(),
    }
    write_json(folder / f"annotations/instances_{split}2017.json", content)
