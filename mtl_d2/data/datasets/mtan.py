"""Dense labels as MTAN and its successors keep them: ``SPLIT/KIND/I.npy``, an array a file.

Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019 (https://arxiv.org/abs/1803.10704): its
authors made the arrays of NYUv2 and of Cityscapes that CAGrad, Nash-MTL, FAMO and LibMTL report on::

    nyuv2/{train,val}/{image,label,depth,normal}/I.npy                          288 x 384, 795 + 654 files
    cityscapes/{train,val}/{image,depth,label_2,label_7,label_19}/I.npy         128 x 256 or 256 x 512, 2975 + 500 files

image (H, W, 3) floats 0..1; label (H, W) floats, -1 = no label; depth (H, W, 1), 0 = no label; normal (H, W, 3) unit
vectors, all 0 = no label. Any number of files is read, in the order of their numbers. A folder that is not there labels
nothing. ``tools/make_sample_scenes.py --layouts nyu`` writes the first with Cityscapes' 19 classes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES, STUFF_COLORS
from mtl_d2.data.datasets.cityscapes_categories import CATEGORIES, CATEGORY_COLORS
from mtl_d2.data.datasets.dense_records import DEPTH, IMAGE, LABEL, NORMALS, Records, dense_records
from mtl_d2.data.datasets.nyu_classes import CLASSES_13
from mtl_d2.data.errors import DataError
from mtl_d2.data.roots import require_folder

SPLITS = ("train", "val")
IGNORED = 255  # what -1 becomes
# By key of a record: the folders that may hold its arrays, the first of which is taken that is there.
NYU = {IMAGE: ("image",), LABEL: ("label",), DEPTH: ("depth",), NORMALS: ("normal",)}


def _cityscapes(labels: str) -> dict[str, Sequence[str]]:
    return {IMAGE: ("image",), LABEL: (labels, "label"), DEPTH: ("depth",)}


def register(root: str) -> None:
    """Put the data sets into detectron2's catalogs; nothing is read before it is asked for.

    ``nyuv2_mtan_{train,val}`` (13 classes), ``sample_scenes_nyu_{train,val}`` (19, the same folder) and
    ``cityscapes_mtan_{7,19}_{train,val}``, whose depth is the disparity as stored.

    Args:
        root: the folder that holds ``nyuv2/`` and ``cityscapes/``. Names registered before are registered anew.
    """
    inverse = {"depth_encoding": 1.0, "depth_unit": "disparity / 65535"}
    street = {"stuff_classes": list(STUFF_CLASSES), "stuff_colors": list(map(list, STUFF_COLORS.values()))}
    categories = {"stuff_classes": list(CATEGORIES), "stuff_colors": list(map(list, CATEGORY_COLORS.values()))}
    for name, folder, kinds, metadata in (
        ("nyuv2_mtan", "nyuv2", NYU, {"stuff_classes": list(CLASSES_13)}),
        ("sample_scenes_nyu", "nyuv2", NYU, street),
        ("cityscapes_mtan_7", "cityscapes", _cityscapes("label_7"), {**categories, **inverse}),
        ("cityscapes_mtan_19", "cityscapes", _cityscapes("label_19"), {**street, **inverse}),
    ):
        for split in SPLITS:
            register_anew(
                f"{name}_{split}",
                functools.cache(functools.partial(load, os.path.join(root, folder, split), kinds)),
                ignore_label=IGNORED,
                evaluator_type="sem_seg",
                **metadata,
            )


def load(folder: str, kinds: Mapping[str, Sequence[str]]) -> Records:
    """Records of the arrays of one split.

    Args:
        folder: of the split.
        kinds: by key of a record, folders in it that may hold those arrays.

    Returns:
        detectron2's dataset dicts in the order of their numbers.

    Raises:
        DataError: a folder of images, or single files, are missing.
    """
    base = Path(folder)
    require_folder(base / kinds[IMAGE][0], f"{base.parent.name}/{base.name}/{kinds[IMAGE][0]} with MTAN's arrays")
    folders = {key: there for key, names in kinds.items() if (there := _first_there(base, names))}
    names = sorted(set().union(*map(_numbers, folders.values())), key=lambda name: (int(name), name))
    if not names:
        raise DataError(f"folder {folders[IMAGE]} has no NUMBER.npy: unpack MTAN's arrays there")
    places: dict[str, Any] = {key: functools.partial(_place, there) for key, there in folders.items()}
    return dense_records(names, places)


def _first_there(base: Path, names: Sequence[str]) -> str:
    return next((str(base / name) for name in names if (base / name).is_dir()), "")


def _numbers(folder: str) -> set[str]:
    """As the names of files have them: ``7``, or ``0007``."""
    stems = (name[:-4] for name in os.listdir(folder) if name.endswith(".npy"))
    return {stem for stem in stems if stem.isdecimal()}


def _place(folder: str, name: str) -> str:
    return os.path.join(folder, f"{name}.npy")
