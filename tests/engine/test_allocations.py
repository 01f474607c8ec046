"""Allocations in real trainings."""

from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from running import rows, train

pytestmark = pytest.mark.filterwarnings("ignore")


def present(row):
    return {name for name in ("detection", "semantic") if f"task_loss/{name}" in row}


@pytest.fixture
def dense_cfg(mclgs_cfg):
    """Every image has both labels."""
    box = {"bbox": [10, 10, 40, 40], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2, "iscrowd": 0}
    if "dense" not in DatasetCatalog:
        records = DatasetCatalog.get("bdd100k_sem_seg_train")
        DatasetCatalog.register("dense", lambda: [{**r, "annotations": [dict(box)]} for r in records])
        sem_seg = MetadataCatalog.get("bdd100k_sem_seg_train")
        MetadataCatalog.get("dense").set(stuff_classes=sem_seg.stuff_classes, ignore_label=sem_seg.ignore_label)
    mclgs_cfg.DATASETS.TRAIN, mclgs_cfg.DATASETS.TEST, mclgs_cfg.MTL.DATA.PER_DATASET = ("dense",), (), ()
    return mclgs_cfg


@pytest.mark.parametrize("stop", [1, 4, 5])
@pytest.mark.parametrize("name", ["sta", "ista", "gap"])
def test_resumed_run_equals_one_that_never_stopped(dense_cfg, tmp_path, name, stop):
    cfg = dense_cfg
    cfg.MTL.ALLOCATION.NAME = name
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    whole = train(cfg).model.state_dict()
    cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    train(cfg, until=stop)
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == stop
    for key, value in resumed.model.state_dict().items():
        assert torch.equal(whole[key], value), key


def test_every_allocation_is_another_training(dense_cfg):
    found = []
    for name in ("full", "sta", "ista", "gap"):
        dense_cfg.MTL.ALLOCATION.NAME = name
        found.append(torch.cat([p.flatten() for p in train(dense_cfg).model.parameters()]))
    assert len({tuple(p.tolist()) for p in found}) == 4


@pytest.mark.parametrize(("rescale", "aggregator"), [("", "sum"), ("mclgs", "mean")])
def test_updates_without_any_sample_change_no_parameter(mclgs_cfg, rescale, aggregator):
    cfg = mclgs_cfg
    cfg.DATASETS.TEST = ()
    cfg.MTL.GRADIENT.RESCALE, cfg.MTL.GRADIENT.AGGREGATOR = rescale, aggregator
    cfg.MTL.GRADIENT.MCLGS.R_T, cfg.MTL.GRADIENT.MCLGS.DELTA_A = None, 0.0
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.STEPS = 0, ()
    full = train(cfg, until=3).model.state_dict()
    cfg.MTL.ALLOCATION.NAME = "ista"  # no image has both labels: every second update is empty
    ista = train(cfg).model.state_dict()
    assert [present(row) for row in rows(cfg)[-6:]] == [{"detection", "semantic"}, set()] * 3
    for name, value in full.items():
        assert torch.equal(ista[name], value), name


def test_a_checkpoint_holds_numbers_of_the_allocation_and_no_image(dense_cfg):
    dense_cfg.MTL.ALLOCATION.NAME = "gap"
    train(dense_cfg, until=3)
    state = torch.load(Path(dense_cfg.OUTPUT_DIR, "model_0000002.pth"), weights_only=False)
    allocation = state["trainer"]["loop"]["allocation"]
    assert allocation == {"block_start": 0, "updates": 3, "block": 2, "uses": 2, "batch_size": 4}
