"""A union of two data sets with lists of classes of their own, and a run with another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from PIL import Image

from mtl_d2.data import DataError, check_data
from mtl_d2.data.class_mapping import map_classes
from mtl_d2.data.reading import read_records

THINGS, STUFF = ["car", "person", "bus"], ["other", "road", "car"]


def record(folder: Any, name: str, classes: list[int] | None = None, ids: list[int] | None = None) -> dict[str, Any]:
    path = folder / f"{name}.png"
    seed = sum(map(ord, name))
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    made: dict[str, Any] = {"file_name": str(path), "height": 40, "width": 48, "image_id": name}
    if classes is not None:
        made["annotations"] = [
            {"bbox": [4 + 9 * i, 4, 12 + 9 * i, 20], "bbox_mode": BoxMode.XYXY_ABS, "category_id": k}
            for i, k in enumerate(classes)
        ]
    if ids is not None:
        made["sem_seg_file_name"] = str(folder / f"{name}_ids.png")
        Image.fromarray(np.resize(np.array(ids, np.uint8), (40, 48))).save(made["sem_seg_file_name"])
    return made


@pytest.fixture
def two(cfg: CfgNode, tmp_path: Any, own_sets: Any) -> CfgNode:
    """A set of cars, boats and riders, and one of walkers and buses; the run knows cars, persons and buses."""
    own_sets("cars", [record(tmp_path, f"c{i}", [0, 1, 2, 0]) for i in range(2)],
             thing_classes=["boat", "car", "rider"], class_synonyms={"rider": "person"},
             thing_colors=[[1, 1, 1]] * 3, evaluator_type="coco")  # fmt: skip
    own_sets("walkers", [record(tmp_path, f"w{i}", [1, 0]) for i in range(2)], thing_classes=["bus", "walker"],
             class_synonyms={"walker": "person"}, annotated_classes=["walker"],
             not_exhaustive_classes=["bus"])  # fmt: skip
    cfg.MTL.TASKS = ("detection",)
    cfg.MTL.DATA.CLASSES.THING = THINGS
    cfg.MODEL.FCOS.NUM_CLASSES = 3
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("cars", "walkers"), ()
    yield cfg
    for node in cfg.MTL.DATA.CLASSES:
        cfg.MTL.DATA.CLASSES[node] = ()
    map_classes(cfg)


def classes_of(name: str) -> list[list[int]]:
    return [[a["category_id"] for a in r["annotations"]] for r in read_records(name)]


def refused(cfg: CfgNode) -> str:
    with pytest.raises(DataError) as e:
        check_data(cfg)
    (line,) = str(e.value).splitlines()
    return line
