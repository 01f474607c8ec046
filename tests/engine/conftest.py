"""A tiny data set in BDD100K's layout and a config that trains on it in seconds."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "data"), str(TESTS / "modeling"), str(TESTS / "balancing")]

from small import small_cfg  # noqa: E402
from tiny_bdd100k import write_tiny_bdd100k  # noqa: E402

from mtl_d2.data import register_all  # noqa: E402


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write_tiny_bdd100k(root)
    return root


@pytest.fixture
def cfg(scenes, tmp_path):
    register_all(str(scenes))
    cfg = small_cfg()
    cfg.MODEL.FCOS.NUM_CLASSES = 10
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 19
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "bdd100k_sem_seg_train")
    cfg.DATASETS.TEST = ("bdd100k_det_val", "bdd100k_sem_seg_val")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    cfg.INPUT.MIN_SIZE_TEST = 48
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SOLVER.MAX_ITER = 6
    cfg.SOLVER.STEPS = (4,)
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.WARMUP_ITERS = 2
    cfg.SOLVER.NESTEROV = True
    cfg.SOLVER.CHECKPOINT_PERIOD = 3
    cfg.MTL.LOG_PERIOD = 1
    cfg.MTL.DATA.PER_DATASET = (2, 2)
    cfg.SEED = 7
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    Path(cfg.OUTPUT_DIR).mkdir()
    return cfg


@pytest.fixture
def mclgs_cfg(cfg):
    cfg.MTL.GRADIENT.RESCALE = "mclgs"
    cfg.MTL.GRADIENT.AGGREGATOR = "mean"
    return cfg
