"""Cityscapes' two dense tasks from its official files: classes or categories of pixels, and disparity.

This is MTAN's task without MTAN's arrays: the 7 categories, and as depth p / 65535 of the official 16-bit disparity p,
which is what the arrays hold to the last bit. The files are those of ``mtl_d2.data.datasets.cityscapes``, in full size
or a whole number of times smaller: means of squares of pixels, and of labels the pixel in the middle. How MTAN's
authors made theirs smaller is not known.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES, STUFF_COLORS
from mtl_d2.data.datasets.cityscapes import (
    DISPARITY,
    IGNORE_LABEL,
    IMAGE,
    SEMANTIC_IDS,
    SPLITS,
    image_files,
    semantic_table,
)
from mtl_d2.data.datasets.cityscapes_categories import CATEGORIES, CATEGORY_COLORS, category_table
from mtl_d2.data.datasets.dense_records import DEPTH, LABEL, Records, dense_records
from mtl_d2.data.datasets.dense_records import IMAGE as FILE

# By the end of a data set's name: how many times smaller than the files of 1024 x 2048.
PARTS = {"": 1, "_half": 2, "_quarter": 4, "_eighth": 8}


def register(root: str) -> None:
    """Put ``cityscapes_{dense_7,dense_19,disparity_19}[_half|_quarter|_eighth]_{train,val}`` into the catalogs.

    Depth is MTAN's in the first two, disparity / 65535; in the last it is the disparity in pixels of the full width.

    Args:
        root: the folder that holds ``cityscapes/``. Names registered before are registered anew.
    """
    mtan = {"depth_encoding": "cityscapes_raw", "depth_unit": "disparity / 65535"}
    pixels = {"depth_encoding": "cityscapes_disparity", "depth_unit": "pixels"}
    categories = (CATEGORIES, CATEGORY_COLORS, category_table(), "detectron2")
    classes = (STUFF_CLASSES, STUFF_COLORS, semantic_table(), "cityscapes")
    sets = (("dense_7", *categories, mtan), ("dense_19", *classes, mtan), ("disparity_19", *classes, pixels))
    for title, names, colors, table, convention, depth in sets:
        for ending, factor in PARTS.items():
            for split in SPLITS:
                register_anew(
                    f"cityscapes_{title}{ending}_{split}",
                    functools.cache(functools.partial(load, root, split, table, factor)),
                    stuff_classes=list(names),
                    stuff_colors=list(map(list, colors.values())),
                    ignore_label=IGNORE_LABEL,
                    semantic_convention=convention,
                    evaluator_type="sem_seg",
                    **depth,
                )


def load(root: str, split: str, table: bytes, factor: int = 1) -> Records:
    """Records of all images of a split, labelled for semantic, and for depth where there is a folder of disparities.

    Args:
        root: the folder that holds ``cityscapes/``.
        split: ``train`` or ``val``.
        table: the class of each label id.
        factor: how many times smaller than the files images and labels are.

    Returns:
        detectron2's dataset dicts in the order of their files.

    Raises:
        DataError: a folder or a file is missing.
    """
    base = Path(root, "cityscapes")
    names = [path.name.removesuffix(IMAGE) for path in image_files(base / "leftImg8bit" / split)]
    ending = f"::shrunk[{factor}]" if factor > 1 else ""
    kinds = {FILE: ("leftImg8bit", IMAGE), LABEL: ("gtFine", SEMANTIC_IDS), DEPTH: ("disparity", DISPARITY)}
    places: dict[str, Any] = {
        key: functools.partial(_place, str(base / kind / split), file + ending)
        for key, (kind, file) in kinds.items()
        if key != DEPTH or (base / kind / split).is_dir()
    }
    return dense_records(names, places, {"sem_seg_table": table})


def _place(folder: str, ending: str, name: str) -> str:
    """``CITY/CITY_SEQUENCE_FRAME``, and the ending."""
    return os.path.join(folder, name.split("_")[0], name + ending)
