"""NYUD_MT, the name of two archives of NYUv2 for several tasks, told apart by what lies in their folders.

Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, and Vandenhende et al.,
"Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI 2021, who made it anew::

                                       the first (ASTMT)                    the second
    NYUD_MT/gt_sets/{train,val}.txt    names                                names
    NYUD_MT/images/                    NAME.jpg                             NAME.jpg
    NYUD_MT/segmentation/              NAME.mat, `segmentation`             NAME.png; 0 = background, 1 to 40
    NYUD_MT/normals/                   NAME.jpg, of 8 bits                  NAME.npy
    NYUD_MT/depth/                     NAME.mat, `depth`                    NAME.npy, metres

Edges, which both have, are not read.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.dense_records import DEPTH, IMAGE, LABEL, NORMALS, Records, dense_records
from mtl_d2.data.datasets.nyu_classes import CLASSES_40, IGNORED, table_of_40, table_of_41
from mtl_d2.data.errors import DataError
from mtl_d2.data.lists import read_lines
from mtl_d2.data.roots import require_folder

SPLITS = ("train", "val")
# By key of a record: the folder, and how its files end, in either archive; of a ``.mat`` with its array.
FOLDERS = {
    IMAGE: ("images", (".jpg", ".png")),
    LABEL: ("segmentation", (".png", ".mat::segmentation")),
    NORMALS: ("normals", (".npy", ".jpg", ".png")),
    DEPTH: ("depth", (".npy", ".mat::depth")),
}


def register(root: str) -> None:
    """Put ``nyud_mt_{train,val}`` and ``nyud_mt_41_{train,val}`` into detectron2's catalogs.

    The second counts the background as a class, as ASTMT does; in the first it is no label.

    Args:
        root: the folder that holds ``NYUD_MT/``. Names registered before are registered anew.
    """
    for name, classes, table in (
        ("nyud_mt", CLASSES_40, table_of_40()),
        ("nyud_mt_41", ("background", *CLASSES_40), table_of_41()),
    ):
        for split in SPLITS:
            register_anew(
                f"{name}_{split}",
                functools.cache(functools.partial(load, root, split, table)),
                stuff_classes=list(classes),
                ignore_label=IGNORED,
                evaluator_type="sem_seg",
            )


def load(root: str, split: str, table: bytes) -> Records:
    """Records of the images that ``gt_sets`` lists, labelled for what has a folder.

    Args:
        root: the folder that holds ``NYUD_MT/``.
        split: ``train`` or ``val``.
        table: the class of each value of the label maps.

    Returns:
        detectron2's dataset dicts in the order of the list.

    Raises:
        DataError: the list, the images or single files are missing, or a folder holds neither archive's files.
    """
    base = require_folder(Path(root, "NYUD_MT"), "NYUD_MT/images and NYUD_MT/gt_sets")
    names = read_lines(base / "gt_sets" / f"{split}.txt", "unpack NYUD_MT's gt_sets there")
    require_folder(base / "images", "NYUD_MT/images")
    places: dict[str, Any] = {
        key: functools.partial(_place, str(base / folder), _ending(base / folder, endings))
        for key, (folder, endings) in FOLDERS.items()
        if (base / folder).is_dir()
    }
    return dense_records(names, places, {"sem_seg_table": table} if LABEL in places else {})


def _ending(folder: Path, endings: tuple[str, ...]) -> str:
    """The one that files in ``folder`` have: that of the first archive or of the second."""
    known = {os.path.splitext(name)[1].lower() for name in os.listdir(folder)}
    files = [ending.partition("::")[0] for ending in endings]
    there = [ending for ending, file in zip(endings, files, strict=True) if file in known]
    if len(there) != 1:
        what = "several of them: keep those of one archive" if there else "none of them: unpack NYUD_MT again"
        raise DataError(f"folder {folder} must hold {' or '.join(files)} files, found {what}")
    return there[0]


def _place(folder: str, ending: str, name: str) -> str:
    return os.path.join(folder, f"{name}{ending}")
