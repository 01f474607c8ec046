"""FCOS's box regression: where it begins, and the line when a side of it has died."""

import logging

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_backbone
from detectron2.modeling.meta_arch.fcos import FCOSHead
from small import sample, small_cfg, small_model

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.modeling.heads.box_watch import PERIOD, BoxWatch, living_sides
from mtl_d2.modeling.norm import narrow_norm

ALIVE, NO_OBJECTS = [40.0, 9.0, 1.0, 40.0, 2.0], [0.0] * 5
DEAD, DEADER = [40.0, 9.0, 0.0, 40.0, 2.0], [40.0, 9.0, 0.0, 0.0, 2.0]  # by one side, by two


def model_of_bias(bias):
    cfg = small_cfg("detection")
    cfg.MODEL.FCOS.BOX_BIAS = bias
    return small_model(cfg=cfg)


def test_without_a_bias_the_head_is_detectron2s_and_with_one_nothing_else_changes():
    cfg = small_cfg("detection")
    torch.manual_seed(0)
    shapes = build_backbone(cfg).output_shape()
    options = {"num_classes": 4, "conv_dims": [16], "norm": narrow_norm("GN"), "prior_prob": cfg.MODEL.FCOS.PRIOR_PROB}
    theirs = FCOSHead(input_shape=[shapes[name] for name in cfg.MODEL.FCOS.IN_FEATURES], **options)
    plain, biased = model_of_bias(0.0).head.state_dict(), model_of_bias(1.5).head.state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(plain[name], value), name
        assert torch.equal(biased[name], value + 1.5 * (name == "bbox_pred.bias")), name


@pytest.mark.parametrize("bias", [-0.5, float("nan"), float("inf")])
def test_a_bias_under_which_no_box_can_live_is_refused(bias):
    cfg = small_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.MODEL.FCOS.BOX_BIAS = bias
    with pytest.raises(ConfigError, match=r"MODEL\.FCOS\.BOX_BIAS must be a finite number >= 0, got"):
        check_mtl_config(cfg)


def test_a_side_lives_where_it_lies_beyond_an_objects_anchor_point():
    levels = [torch.tensor([[[1.0, -1, 0, 2], [3, 3, 3, 3]]]), torch.tensor([[[1.0, -2, -3, -4]]])]  # of 2 and 1 points
    positive = torch.tensor([[True, False, True]])
    assert living_sides(levels, positive).tolist() == [2, 2, 0, 0, 1]


@pytest.fixture
def watched(caplog):
    """Runs a watch over stretches (counts, updates); says after which updates it wrote a line."""

    def run(*stretches):
        watch, update, said = BoxWatch(), 0, []
        for counts, updates in stretches:
            for _ in range(updates):
                before = len(caplog.records)
                watch(torch.tensor(counts), update)
                said += [update] * (len(caplog.records) - before)
                update += 1
        return said

    with caplog.at_level(logging.WARNING):
        yield run


def test_death_is_said_once_a_stretch(watched):
    assert watched((DEAD, 3 * PERIOD + 1)) == [PERIOD]
    assert watched((ALIVE, PERIOD), (DEAD, 2 * PERIOD), (ALIVE, PERIOD), (DEAD, PERIOD + 1)) == [100, 250]
    assert watched((DEADER, PERIOD), (DEAD, PERIOD), (DEADER, PERIOD + 1)) == [50, 150]


def test_one_box_among_many_or_no_object_is_no_death(watched):
    assert watched((DEAD, PERIOD - 1), (ALIVE, 1), (DEAD, PERIOD - 1)) == []
    assert watched((NO_OBJECTS, 3 * PERIOD)) == []
    assert watched((DEAD, PERIOD), (NO_OBJECTS, PERIOD), (DEAD, PERIOD + 1)) == [PERIOD]


@pytest.mark.parametrize(("bias", "lines"), [(0.1, 0), (-0.1, 1)])
def test_a_model_whose_boxes_have_died_says_so_with_the_mend(storage, caplog, bias, lines):
    model = model_of_bias(0.0)
    torch.nn.init.zeros_(model.head.bbox_pred.weight)
    torch.nn.init.constant_(model.head.bbox_pred.bias, 0.1)
    torch.nn.init.constant_(model.head.bbox_pred.bias[1::2], bias)
    for storage.iter in (0, PERIOD):
        model([sample("detection", boxes=3)])
    found = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(found) == lines
    for line in found:
        assert "Updates 0 to 49: FCOS puts the upper and lower side of its box on the anchor point itself" in line
        assert "MODEL.FCOS.BOX_BIAS" in line
        assert "SOLVER.BASE_LR" in line


def locations_after(bias, updates, storage):
    """The mean location loss of an object's anchor point in the last of some updates."""
    model = model_of_bias(bias)
    batch = [sample("detection", seed=seed, boxes=3) for seed in range(2)]
    trainer = SimpleTrainer(model, [batch] * updates, torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
    for trainer.iter in range(updates):
        trainer.run_step()
    positives = storage.latest()["num_pos_anchors"][0] * len(batch)
    return storage.latest()["loss_fcos_loc"][0] * model.loss_normalizer.item() / positives


def test_boxes_without_area_hardly_learn_and_those_of_the_default_do(storage):
    assert locations_after(0.0, 20, storage) > 0.7  # of 1, the loss of a box without area: some of its sides are dead
    assert locations_after(small_cfg().MODEL.FCOS.BOX_BIAS, 20, storage) < 0.6
