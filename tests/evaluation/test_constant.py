import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("data", "modeling")]

from small import small_cfg  # noqa: E402
from tiny_bdd100k import write_tiny_bdd100k  # noqa: E402

from mtl_d2.data import register_all  # noqa: E402
from mtl_d2.engine import MultiTaskTrainer  # noqa: E402
from mtl_d2.evaluation.constant import _hitting_boxes, fit_constant_predictor  # noqa: E402


@pytest.fixture
def cfg(tmp_path):
    write_tiny_bdd100k(tmp_path)
    register_all(str(tmp_path))
    cfg = small_cfg()
    cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 10, 19
    cfg.DATASETS.TRAIN = ("bdd100k_det_train", "bdd100k_sem_seg_train")
    cfg.DATASETS.TEST = ("bdd100k_det_val", "bdd100k_sem_seg_val")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TEST = 48
    cfg.OUTPUT_DIR = str(tmp_path)
    return cfg


def test_says_the_same_of_every_image_at_its_size(cfg):
    model = fit_constant_predictor(cfg)
    small, large = model([{"height": 48, "width": 80}, {"height": 96, "width": 160}])
    torch.testing.assert_close(2 * small["instances"].pred_boxes.tensor, large["instances"].pred_boxes.tensor)
    assert large["sem_seg"].shape == (19, 96, 160)


def test_beats_nothing_and_is_beaten_by_the_truth(cfg):
    results = MultiTaskTrainer.test(cfg, fit_constant_predictor(cfg).eval())
    assert 0 < results["bbox"]["AP50"] < 100
    assert 0 < results["sem_seg"]["mIoU"] < 100


def test_boxes_are_picked_by_how_many_they_hit():
    often, seldom = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    picked = _hitting_boxes([often, often, seldom, often], images=4)
    assert [score for _, score in picked] == [0.75, 0.25]
    assert picked[0][0] == pytest.approx(often)


def test_masks_fill_the_boxes_where_masks_are_predicted(sets):
    name = sets.register("masks", sets.records(masks=True))
    cfg = sets.config(name, tasks=("detection", "instance"))
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    (output,) = fit_constant_predictor(cfg)([{"height": 24, "width": 32}])
    found = output["instances"]
    assert found.pred_masks.shape == (len(found), 24, 32)
    assert found.pred_masks.sum((1, 2)).tolist() == [5 * 6] * len(found)  # 10 x 12 pixels of 64 x 48, halved


def test_ignored_ids_of_a_data_set_are_no_class(sets):
    name = sets.register("maps", sets.records(boxes=False, maps=True), ignore_label=2)
    cfg = sets.config(name, tasks=("semantic",))
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 256  # else 255 is refused
    frequencies = fit_constant_predictor(cfg).constants["sem_seg"].frequencies
    assert frequencies[2].sum() == 0
    assert frequencies[0].sum() > 0
