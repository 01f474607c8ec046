"""Data sets of a few small images, with whatever labels a test asks for."""

import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "modeling")]

from small import small_cfg  # noqa: E402

H, W = 48, 64
THINGS, STUFF = ["car", "dog"], ["road", "sky", "tree"]


class Sets:
    """Writes data sets below a folder and registers them."""

    def __init__(self, root):
        self.root = root
        self.names = []

    def records(self, count=3, boxes=True, masks=False, maps=False):
        """``count`` images; image i shows i + 1 objects of both classes, and all three classes of pixels."""
        return [self._record(i, boxes, masks, maps) for i in range(count)]

    def _record(self, i, boxes, masks, maps):
        path = self.root / f"{i}.png"
        Image.fromarray(np.full((H, W, 3), 20 * i, np.uint8)).save(path)
        record = {"file_name": str(path), "image_id": 10 + i, "height": H, "width": W}
        if boxes:
            record["annotations"] = [_object(k, masks) for k in range(i + 1)]
        if maps:
            labels = np.repeat(np.array([0, 1, 2, 255], np.uint8), H // 4)[:, None].repeat(W, 1)
            record["sem_seg_file_name"] = str(self.root / f"{i}_labels.png")
            Image.fromarray(labels).save(record["sem_seg_file_name"])
        return record

    def register(self, name, records, **metadata):
        DatasetCatalog.register(name, records if callable(records) else lambda: records)
        self.names.append(name)
        given = {"thing_classes": THINGS, "stuff_classes": STUFF, "ignore_label": 255} | metadata
        MetadataCatalog.get(name).set(**{key: value for key, value in given.items() if value is not None})
        return name

    def config(self, *tests, tasks=("detection",), train=None):
        cfg = small_cfg(*tasks)
        cfg.DATASETS.TEST = tests
        cfg.DATASETS.TRAIN = (train or tests[0],)
        cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(THINGS), len(STUFF)
        cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 255
        cfg.SEED = 1
        cfg.OUTPUT_DIR = str(self.root / "output")
        return cfg


def _object(k, masks):
    x, y = 4 + 12 * k, 5 + 8 * k
    found = {"bbox": [x, y, 10, 12], "bbox_mode": BoxMode.XYWH_ABS, "category_id": k % 2, "iscrowd": 0}
    if masks:
        found["segmentation"] = [[x, y, x + 10, y, x + 10, y + 12, x, y + 12]]
    return found


@pytest.fixture
def sets(tmp_path):
    made = Sets(tmp_path)
    yield made
    for name in made.names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
