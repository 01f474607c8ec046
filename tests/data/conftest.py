"""A config and a tiny BDD100K for the tests of the data."""

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.config import add_mtl_config
from mtl_d2.data import register_all

from .tiny_bdd100k import write_tiny_bdd100k
from .tiny_voc import write_tiny_voc
from .two_lists import two  # noqa: F401  # a fixture


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskFCOS"
    cfg.MODEL.FCOS.NUM_CLASSES = 10
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "bdd100k_sem_seg_train")
    cfg.DATASETS.TEST = ("bdd100k_det_val", "bdd100k_sem_seg_val")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.INPUT.MIN_SIZE_TRAIN = (40, 48)
    cfg.INPUT.MIN_SIZE_TEST = 48
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 19
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SEED = 7
    return cfg


@pytest.fixture
def tiny_root(tmp_path):
    """A folder with a tiny BDD100K, and the catalog pointing to it."""
    write_tiny_bdd100k(tmp_path)
    register_all(str(tmp_path))
    return tmp_path


@pytest.fixture
def own_sets():
    """Registers data sets for one test: a name, their records or their reader, and their metadata."""
    names = []

    def register(name, records, **metadata):
        DatasetCatalog.register(name, records if callable(records) else lambda: records)
        MetadataCatalog.get(name).set(**metadata)
        names.append(name)

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def voc_root(tmp_path):
    """A folder with a tiny VOC of both years and SBD."""
    write_tiny_voc(tmp_path)
    return tmp_path


@pytest.fixture
def voc_cfg(cfg, voc_root):
    """Detection and segmentation on the images of both, and the catalog pointing to them."""
    register_all(str(voc_root))
    cfg.MODEL.FCOS.NUM_CLASSES = 20
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 21
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("voc_det_seg_train",), ("voc_det_07_test", "voc_det_seg_12_val")
    cfg.MTL.TASKS = ("detection", "semantic")
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg
