"""The smallest training there is: a classifier of bright bars, twelve updates in a fraction of a second."""

from pathlib import Path

import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

import mtl_d2.modeling  # noqa: F401
from mtl_d2.config import add_mtl_config

TASKS = ("class_left", "class_right")
NAME = "smallest_bars"


def records():
    """One for each row and column that a bar may be in."""
    found = []
    for row in range(3):
        for column in range(3):
            image = torch.zeros(1, 12, 12, dtype=torch.uint8)
            image[0, 4 * row + 1], image[0, :, 4 * column + 1] = 255, 255
            found.append({"file_name": f"bars/{row}{column}", "image": image, "height": 12, "width": 12})
            found[-1] |= dict(zip(TASKS, (row, column), strict=True))
    return found


def bars_cfg(folder):
    if NAME not in DatasetCatalog:
        DatasetCatalog.register(NAME, records)
        classes = {task: ["a", "b", "c"] for task in TASKS}
        MetadataCatalog.get(NAME).set(classes=classes, evaluator_type="classification")
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "MultiTaskClassifier", "cpu", ""
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0], [255.0]
    cfg.MODEL.CLASSIFIER.INPUT_SHAPE, cfg.MODEL.CLASSIFIER.NUM_CLASSES = (1, 12, 12), (3,)
    cfg.MODEL.CLASSIFIER.TRUNK, cfg.MODEL.CLASSIFIER.HEAD = ("conv 2 5 2", "linear 6"), ()
    cfg.MTL.TASKS, cfg.MTL.LOG_PERIOD = TASKS, 1
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 4, 12, (9,)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CHECKPOINT_PERIOD = 0.05, 0, 4
    cfg.SEED, cfg.OUTPUT_DIR = 7, str(folder)
    Path(folder).mkdir(exist_ok=True)
    return cfg
