"""The sample scenes with every label on the same images: objects with masks, classes, depth, disparity and normals.

The generator writes the same scenes in several published layouts (``docs/sample_scenes.md``); these records take of
each what it alone has: images, objects, classes and disparity of ``cityscapes``, depth and normals of ``nyuv2``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets import cityscapes
from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES, STUFF_COLORS
from mtl_d2.data.errors import DataError

SPLITS = ("train", "val")
NAMES = tuple(f"sample_scenes_all_{split}" for split in SPLITS)


def register(root: str) -> None:
    """Put ``sample_scenes_all_{train,val}`` into detectron2's catalogs; they are read when they are asked for.

    Args:
        root: the folder that ``tools/make_sample_scenes.py`` wrote. Names registered before are registered anew.
    """
    for name, split in zip(NAMES, SPLITS, strict=True):
        register_anew(
            name,
            functools.cache(functools.partial(load, root, split)),
            **{
                "thing_classes": list(cityscapes.THINGS),
                "thing_colors": [list(STUFF_COLORS[thing]) for thing in cityscapes.THINGS],
                "stuff_classes": list(STUFF_CLASSES),
                "stuff_colors": [list(color) for color in STUFF_COLORS.values()],
                "ignore_label": cityscapes.IGNORE_LABEL,
                "semantic_convention": "cityscapes",
                "depth_encoding": "metres",
                "depth_encoding/disparity": "cityscapes_disparity",
                "depth_unit/disparity": "pixels",
                "evaluator_type": "coco",
            },
        )


def load(root: str, split: str) -> list[dict[str, Any]]:
    """Records of all scenes of a split.

    Args:
        root: the folder with the layouts ``cityscapes`` and ``nyu``.
        split: ``train`` or ``val``.

    Returns:
        detectron2's dataset dicts in the order of the scenes, labelled for detection, instance, semantic, depth,
        depth/disparity and normals.

    Raises:
        DataError: a folder or file is missing.
    """
    records = sorted(cityscapes.load(root, split), key=_number)
    arrays = Path(root, "nyuv2", split)
    for record in records:
        files = {
            key: str(arrays / kind / f"{_number(record)}.npy")
            for key, kind in (("depth", "depth"), ("normals", "normal"))
        }
        missing = [path for path in files.values() if not Path(path).is_file()]
        if missing:
            raise DataError(
                f"{missing[0]} is missing, of the scene {record['image_id']}: make the scenes with the layouts "
                "cityscapes,nyu among others, see docs/sample_scenes.md"
            )
        record["depth_file_name/disparity"] = record.pop("depth_file_name")
        record.update({f"{key}_file_name": path for key, path in files.items()})
    return records


def _number(record: dict[str, Any]) -> int:
    """Of the scene: CITY_NUMBER_FRAME_leftImg8bit.png."""
    return int(record["image_id"].split("_")[1])
