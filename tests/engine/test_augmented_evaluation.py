"""Test-time augmentation: detectron2's, on boxes and masks, beside the results without it."""

import pytest
import torch
from detectron2.modeling import GeneralizedRCNNWithTTA
from small import sample, small_model, small_rcnn_cfg

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import register_all
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.evaluation.augmented import add_augmented

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def cfg(scenes, tmp_path):
    register_all(str(scenes))
    cfg = small_rcnn_cfg("detection", "instance", "semantic")
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 10, 0.0
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 19
    cfg.DATASETS.TRAIN = ("bdd100k_det_train",)
    cfg.DATASETS.TEST = ("bdd100k_det_val", "bdd100k_sem_seg_val")
    cfg.DATALOADER.NUM_WORKERS, cfg.INPUT.MIN_SIZE_TEST = 0, 48
    cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.FLIP = True, (64,), False
    cfg.OUTPUT_DIR = str(tmp_path)
    return cfg


def test_one_size_without_a_flip_finds_what_the_model_finds(cfg):
    model = small_model(cfg=cfg).eval()
    image = sample(size=(64, 96)) | {"height": 64, "width": 96}
    with torch.no_grad():
        plain = model([image])[0]["instances"]
        augmented = GeneralizedRCNNWithTTA(cfg, model)([image])[0]["instances"]
    assert torch.allclose(plain.pred_boxes.tensor, augmented.pred_boxes.tensor, atol=1e-3)
    assert torch.equal(plain.pred_classes, augmented.pred_classes)
    assert torch.equal(plain.pred_masks, augmented.pred_masks)


def test_groups_of_boxes_stand_beside_those_without_augmentation(cfg):
    model = small_model(cfg=cfg).eval()
    plain = MultiTaskTrainer.test(cfg, model)
    groups = set(plain)
    add_augmented(cfg, model, plain, MultiTaskTrainer.test)
    assert "sem_seg" in groups
    assert set(plain) - groups == {"bbox_TTA"}
    assert plain["bbox_TTA"]["AP50"] >= 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["MODEL.META_ARCHITECTURE", "MultiTaskFCOS", "MTL.TASKS", ("detection",)], "boxes of a GeneralizedRCNN alone"),
        (["MTL.TASKS", ("semantic",)], "has none: set it to False"),
        (["TEST.AUG.MIN_SIZES", ()], "MIN_SIZES is empty"),
        (["MTL.SELECT_BY", "bbox/AP"], "evaluates the last model, MTL.SELECT_BY another"),
    ],
)
def test_what_cannot_be_augmented_is_refused(cfg, overrides, said):
    check_mtl_config(cfg)
    cfg.merge_from_list(overrides)
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(cfg)
