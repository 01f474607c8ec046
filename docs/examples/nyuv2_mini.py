"""Registers a small part of NYUv2: images with depth, whose normals are computed from it; nothing of classes.

Name this file in ``MTL.DATA.MODULES``. The data are looked for in ``$MTL_D2_TEST_DATA``, or ``datasets``::

    nyuv2_mini/image/*.png    nyuv2_mini/depth_mm/*.png    nyuv2_mini/{train,test}.txt    (names without .png)
"""

import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data.datasets.nyuv2 import CAMERA

ROOT = Path(os.environ.get("MTL_D2_TEST_DATA", "datasets")) / "nyuv2_mini"
IMAGES, DEPTH = ROOT / "image", ROOT / "depth_mm"


def load(split: str) -> list[dict]:
    """The images of a list with their depth; normals have no file of their own, so they come of the same."""
    names = (ROOT / f"{split}.txt").read_text().split()
    return [
        {
            "file_name": str(IMAGES / f"{name}.png"),
            "image_id": name,
            "depth_file_name": str(DEPTH / f"{name}.png"),
            "normals_file_name": str(DEPTH / f"{name}.png"),
        }
        for name in names
    ]


for split in ("train", "test"):
    DatasetCatalog.register(f"nyuv2_mini_{split}", partial(load, split))
    MetadataCatalog.get(f"nyuv2_mini_{split}").set(
        depth_encoding="millimetres",
        depth_range=(0.001, 10.0),  # metres that are evaluated
        normals_depth_encoding="millimetres",
        normals_intrinsics=CAMERA,
    )
