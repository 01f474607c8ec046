"""Registers two data sets of one's own: CamVid, labelled for segmentation, and a part of COCO, labelled with boxes.

Name this file in ``MTL.DATA.MODULES``. The data are looked for in ``$MTL_D2_TEST_DATA``, or ``datasets``::

    camvid/{train,val,test}/*.jpg            camvid/{train,val,test}annot/*.png    (class ids, 11 = unlabelled)
    coco_mini/{train2017,val2017}/*.jpg      coco_mini/annotations/instances_{train,val}2017.json
"""

import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_sem_seg, register_coco_instances

ROOT = Path(os.environ.get("MTL_D2_TEST_DATA", "datasets"))
CAMVID_CLASSES = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
]

for split in ("train", "val", "test"):
    images, labels = ROOT / "camvid" / split, ROOT / "camvid" / f"{split}annot"
    DatasetCatalog.register(f"camvid_{split}", partial(load_sem_seg, str(labels), str(images), "png", "jpg"))
    # The one place that says which id is no label: the mapper, the loss and the evaluator follow it.
    MetadataCatalog.get(f"camvid_{split}").set(stuff_classes=CAMVID_CLASSES, ignore_label=11, evaluator_type="sem_seg")


def load_persons(file: str, folder: str) -> list[dict]:
    """The images of a COCO file with their persons as the only class."""
    records = load_coco_json(file, folder, "coco_mini_persons")  # its metadata say which class the first one is
    person = MetadataCatalog.get("coco_mini_persons").thing_classes.index("person")
    for record in records:
        objects = [one for one in record["annotations"] if one["category_id"] == person]
        record["annotations"] = [{**one, "category_id": 0} for one in objects]
    return records


for split in ("train", "val"):
    file = ROOT / "coco_mini" / "annotations" / f"instances_{split}2017.json"
    register_coco_instances(f"coco_mini_{split}", {}, str(file), str(ROOT / "coco_mini" / f"{split}2017"))
    DatasetCatalog.register(
        f"coco_mini_person_{split}", partial(load_persons, str(file), str(file.parents[1] / f"{split}2017"))
    )
    MetadataCatalog.get(f"coco_mini_person_{split}").set(thing_classes=["person"], evaluator_type="coco")
