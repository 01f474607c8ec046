"""The example of classes split over two data sets: each half of the images has its own classes, as its own ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import import_modules
from mtl_d2.data.class_mapping import map_classes
from mtl_d2.data.reading import read_records

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/two_sets.py"
NAMES = ["car", "truck", "bus", "pedestrian", "traffic sign"]


def objects(name: str) -> list[tuple[str, str]]:
    classes = MetadataCatalog.get(name).thing_classes
    return [(r["file_name"], classes[a["category_id"]]) for r in read_records(name) for a in r["annotations"]]


def test_masked_and_naive_sets_have_the_same_objects_of_the_same_images(
    cfg: CfgNode, tiny_root: Any, forgotten: Any
) -> None:
    cfg.MTL.TASKS, cfg.MTL.DATA.MODULES, cfg.MTL.DATA.CLASSES.THING = ("detection",), (str(EXAMPLE),), NAMES
    import_modules(cfg)
    source = [(file, name) for file, name in objects("bdd100k_det_train") if name in NAMES]
    assert source
    files = sorted(record["file_name"] for record in DatasetCatalog.get("bdd100k_det_train"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = [f"two_sets_{part}_train" for part in ("vehicles", "people")], ()
    map_classes(cfg)
    for part, first, labelled in (("vehicles", 0, NAMES[:3]), ("people", 1, NAMES[3:])):
        masked, naive = f"two_sets_{part}_train", f"two_sets_naive_{part}_train"
        assert MetadataCatalog.get(masked).annotated_classes == labelled
        expected = sorted((file, name) for file, name in source if file in files[first::2] and name in labelled)
        assert sorted(objects(masked)) == sorted(objects(naive)) == expected
