"""NYUv2 as it is published: one MATLAB file of 1449 images with depth and labels, read one image at a time.

Silberman, Hoiem, Kohli, Fergus, "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012::

    nyu_depth_v2/nyu_depth_v2_labeled.mat     images, depths, labels (format 7.3: needs h5py)
    nyu_depth_v2/splits.mat                   trainNdxs, testNdxs: numbers from 1
    nyu_depth_v2/classMapping40.mat           mapClass: of each of 894 labels its one of 40 classes (Gupta et al., 2013)

There are no normals in it: they are computed from depth.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mtl_d2.data.arrays import Array, read_array, read_form
from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.dense_records import DEPTH, IMAGE, LABEL, NORMALS, Records
from mtl_d2.data.datasets.nyu_classes import CLASSES_13, CLASSES_40, IGNORED, OF_13
from mtl_d2.data.errors import DataError
from mtl_d2.data.once import inform
from mtl_d2.data.roots import require_folder

FOLDER, LABELED, SPLIT_FILE, CLASS_FILE = "nyu_depth_v2", "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}
# Of the colour camera, fx, fy, cx, cy, by the data set's toolbox.
CAMERA = (518.85790117, 519.46961112, 325.58244941, 253.73616633)
Table = Callable[[Array], bytes]

logger = logging.getLogger(__name__)


def _forty(of_40: Array) -> bytes:
    return bytes([IGNORED, *(int(number) - 1 for number in of_40)])


def _thirteen(of_40: Array) -> bytes:
    return bytes([IGNORED, *(OF_13[int(number) - 1] - 1 for number in of_40)])


def _fourteen(of_40: Array) -> bytes:
    return bytes([0, *(OF_13[int(number) - 1] for number in of_40)])


# By the number of classes: their names, and the table of the 895 values of the labels, of which 0 is none.
CLASSES: dict[int, tuple[tuple[str, ...], Table]] = {
    13: (CLASSES_13, _thirteen),
    14: (("background", *CLASSES_13), _fourteen),  # as CosReg counts
    40: (CLASSES_40, _forty),
}


def register(root: str) -> None:
    """Put ``nyuv2_{13,14,40}_{train,test}`` into detectron2's catalogs; nothing is read before it is asked for.

    Args:
        root: the folder that holds ``nyu_depth_v2/``. Names registered before are registered anew.
    """
    for number, (classes, _) in CLASSES.items():
        for split in SPLITS:
            register_anew(
                f"nyuv2_{number}_{split}",
                functools.cache(functools.partial(load, root, split, number)),
                stuff_classes=list(classes),
                ignore_label=IGNORED,
                normals_intrinsics=CAMERA,
                evaluator_type="sem_seg",
            )


def load(root: str, split: str, number: int) -> Records:
    """Records of a split, labelled for semantic, depth and normals.

    Args:
        root: the folder that holds ``nyu_depth_v2/``.
        split: ``train`` or ``test``.
        number: of classes, a key of ``CLASSES``.

    Returns:
        detectron2's dataset dicts in the order of ``splits.mat``; ``image_id`` is the number from 1.

    Raises:
        DataError: a file is missing or not as published.
    """
    files = {name: os.path.join(root, FOLDER, name) for name in (LABELED, SPLIT_FILE, CLASS_FILE)}
    require_folder(Path(root, FOLDER), f"{FOLDER}/{LABELED}")
    missing = [path for path in files.values() if not os.path.isfile(path)]
    if missing:
        raise DataError("\n".join(f"{path} is missing: put it there, see docs/dense_datasets.md" for path in missing))
    total, size = _forms(files[LABELED])
    numbers = _numbers(files[SPLIT_FILE], SPLITS[split], total)
    table = CLASSES[number][1](_classes(files[CLASS_FILE]))
    inform(logger, f"{files[LABELED]} has no normals: they are computed from its depth")
    return [_record(files[LABELED], one, size, table) for one in numbers]


def _record(file: str, number: int, size: tuple[int, int], table: bytes) -> dict[str, Any]:
    depth = f"{file}::depths[{number - 1}]"
    return {
        IMAGE: f"{file}::images[{number - 1}]",
        "image_id": number,
        "height": size[0],
        "width": size[1],
        LABEL: f"{file}::labels[{number - 1}]",
        "sem_seg_table": table,
        DEPTH: depth,
        NORMALS: depth,
    }


def _forms(file: str) -> tuple[int, tuple[int, int]]:
    """Number, and height and width, of the images.

    Raises:
        DataError: an array is missing, or of another size or number than the images.
    """
    images = read_form(f"{file}::images").shape
    for name in ("depths", "labels"):
        shape = read_form(f"{file}::{name}").shape
        if len(images) != 4 or shape != (*images[:2], images[3]):
            raise DataError(
                f"{file}: images is {images} and {name} is {shape}, but they must be (H, W, 3, N) and (H, W, N): fetch "
                "the file again"
            )
    return images[3], (images[0], images[1])


def _numbers(file: str, name: str, total: int) -> list[int]:
    numbers = [int(number) for number in read_array(f"{file}::{name}").reshape(-1)]
    wrong = [number for number in numbers if not 1 <= number <= total]
    if wrong or not numbers:
        raise DataError(
            f"{file}: {name} must be numbers from 1 to {total}, the images of {LABELED}, found {wrong[:1] or 'none'}: "
            "take the two files of the same download"
        )
    return numbers


def _classes(file: str) -> Array:
    numbers = np.asarray(read_array(f"{file}::mapClass")).reshape(-1)
    if not len(numbers) or not (1 <= numbers.min() <= numbers.max() <= len(CLASSES_40)):
        raise DataError(f"{file}: mapClass must be numbers from 1 to {len(CLASSES_40)}: fetch the file again")
    return numbers
