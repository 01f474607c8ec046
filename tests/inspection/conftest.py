"""Two data sets of little streets, and a config that trains on one and tests on the other."""

import copy

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.config import add_mtl_config

from .little_streets import STUFF, THINGS, write

TRAIN, TEST = "streets_train", "streets_test"


class Streets:
    """Records of both sets, to be broken; they are registered when the config is asked for."""

    def __init__(self, train, test, folder):
        self.train, self.test = copy.deepcopy(train), copy.deepcopy(test)
        self.folder = folder
        self.metadata = {
            name: {"thing_classes": list(THINGS), "stuff_classes": list(STUFF), "evaluator_type": "coco"}
            for name in (TRAIN, TEST)
        }

    def both(self):
        return [*self.train, *self.test]

    def cfg(self, *words):
        for name, records in ((TRAIN, self.train), (TEST, self.test)):
            DatasetCatalog.register(name, lambda records=records: copy.deepcopy(records))
            MetadataCatalog.get(name).set(**self.metadata[name])
        cfg = get_cfg()
        add_mtl_config(cfg)
        cfg.MODEL.META_ARCHITECTURE = "MultiTaskMaskRCNN"
        cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(THINGS), len(STUFF)
        cfg.MTL.TASKS = ("detection", "instance", "semantic", "depth", "normals")
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (TRAIN,), (TEST,)
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (64,), 64
        cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SEED = 4, 40, 3
        cfg.OUTPUT_DIR = str(self.folder)
        cfg.merge_from_list(list(words))
        return cfg


@pytest.fixture(scope="session")
def written_streets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    return write(folder / "train", 0, 32), write(folder / "test", 100, 24)


@pytest.fixture
def streets(written_streets, tmp_path, forgotten):
    return Streets(*written_streets, tmp_path)
