"""Registers CamVid with boxes beside its classes of pixels: real images that are labelled for two tasks each.

The boxes are those of the connected regions of ``car``, ``pedestrian`` and ``bicyclist``, so that objects which touch
each other are one. Name this file in ``MTL.DATA.MODULES``. The data are looked for in ``$MTL_D2_TEST_DATA``, or
``datasets``, as in camvid_coco.py.
"""

import os
from functools import partial
from pathlib import Path

import cv2
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

ROOT = Path(os.environ.get("MTL_D2_TEST_DATA", "datasets")) / "camvid"
CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
OBJECTS = ("car", "pedestrian", "bicyclist")
LEAST = 12  # pixels of 480x360: a region that is narrower or lower is no box


def regions(labels: Path) -> list[dict]:
    """The annotations of one image of class ids."""
    ids = cv2.imread(str(labels), cv2.IMREAD_GRAYSCALE)
    found = []
    for category, name in enumerate(OBJECTS):
        _, _, stats, _ = cv2.connectedComponentsWithStats((ids == CLASSES.index(name)).astype("uint8"))
        for x, y, width, height, _ in stats[1:].tolist():  # the first is what is no object
            if min(width, height) >= LEAST:
                box = {"bbox": [x, y, width, height], "bbox_mode": BoxMode.XYWH_ABS}
                found.append({**box, "category_id": category, "iscrowd": 0})
    return found


def load(split: str) -> list[dict]:
    """Records with a label map and boxes."""
    records = []
    for image in sorted((ROOT / split).glob("*.jpg")):
        labels = ROOT / f"{split}annot" / f"{image.stem}.png"
        height, width = cv2.imread(str(labels), cv2.IMREAD_GRAYSCALE).shape
        names = {"file_name": str(image), "sem_seg_file_name": str(labels), "image_id": image.stem}
        records.append({**names, "height": height, "width": width, "annotations": regions(labels)})
    return records


for split in ("train", "val", "test"):
    DatasetCatalog.register(f"camvid_objects_{split}", partial(load, split))
    MetadataCatalog.get(f"camvid_objects_{split}").set(
        thing_classes=list(OBJECTS), stuff_classes=CLASSES, ignore_label=11
    )
