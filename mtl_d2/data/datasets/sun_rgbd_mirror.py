"""SUN RGB-D as ankurhanda/sunrgbd-meta-data has it: numbered images, label maps and depth maps, without MATLAB files.

The images and depth maps of each split are numbered from 1; the label maps are numbered through, those of the *test*
first. The layout, of archives that hold no folder of their own::

    sun_rgbd/SUNRGBD-train_images/img-000001.jpg ... img-005285.jpg      sun_rgbd/SUNRGBD-test_images/...
    sun_rgbd/sunrgbd_train_test_labels/img-000001.png ... img-010335.png
    sun_rgbd/sunrgbd_train_depth/1.png ... 5285.png                      sun_rgbd/sunrgbd_test_depth/... (may be absent)
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets import sun_rgbd_classes
from mtl_d2.data.errors import DataError
from mtl_d2.data.missing_labels import require_files
from mtl_d2.data.roots import require_folder

BEFORE = {"train": 5050, "test": 0}  # label maps before those of the split
METRES = 1e-4  # in a depth map's unit
_IMAGE = re.compile(r"img-(\d{6})\.jpg")


def register(root: str) -> None:
    """Put ``sun_rgbd_mirror_{train,test}`` into detectron2's catalogs; they are read when they are asked for, and once.

    Args:
        root: the folder that holds ``sun_rgbd/``. Names registered before are registered anew.
    """
    for split in BEFORE:
        register_anew(
            f"sun_rgbd_mirror_{split}",
            functools.cache(functools.partial(load, root, split)),
            **sun_rgbd_classes.metadata(),
            evaluator_type="sem_seg",
            depth_encoding=METRES,
        )


def load(root: str, split: str) -> list[dict[str, Any]]:
    """Records of a split, labelled as ``sun_rgbd.load`` says, but for depth where its folder is not there.

    Args:
        root: the folder that holds ``sun_rgbd/``.
        split: a key of ``BEFORE``.

    Returns:
        detectron2's dataset dicts in the order of their numbers, whose size the images say.

    Raises:
        DataError: a folder or labels are missing.
    """
    base = Path(root, "sun_rgbd")
    images = require_folder(base / f"SUNRGBD-{split}_images", f"sun_rgbd/SUNRGBD-{split}_images")
    numbers = sorted(int(match[1]) for path in images.iterdir() if (match := _IMAGE.fullmatch(path.name)))
    if not numbers:
        raise DataError(f"folder {images} has no img-*.jpg: unpack SUNRGBD-{split}_images.tgz there")
    labels = {n: base / "sunrgbd_train_test_labels" / f"img-{n + BEFORE[split]:06d}.png" for n in numbers}
    require_files(labels.values(), "unpack sunrgbd_train_test_labels.tar.gz there, numbered to 10335")
    depth = base / f"sunrgbd_{split}_depth"
    depths = {n: depth / f"{n}.png" for n in numbers} if depth.is_dir() else {}
    require_files(depths.values(), f"unpack sunrgb_{split}_depth.tgz in {base}")
    return [
        {
            "file_name": str(images / f"img-{n:06d}.jpg"),
            "image_id": f"{split}-{n:06d}",
            **sun_rgbd_classes.label_keys(str(labels[n]), 256),
            **({"depth_file_name": str(depths[n])} if depths else {}),
        }
        for n in numbers
    ]
