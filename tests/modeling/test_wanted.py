"""A model that is asked for some of its predictions makes these as ever, and no others."""

import pytest
import torch
from small import sample, small_cfg, small_model, small_rcnn_cfg
from torch import nn

from mtl_d2.modeling.wanted import Wanted, predicting

DETECTION, SEMANTIC, INSTANCE, DEPTH = "detection", "semantic", "instance", "depth"


def predictions(model, wanted=None, samples=None):
    samples = samples or [sample(SEMANTIC, size=(160, 224), seed=k) for k in (1, 2)]
    samples[0] |= {"height": 130, "width": 200}
    with torch.no_grad():
        if wanted is None:
            return model(samples)
        with predicting(model, wanted):
            return model(samples)


def refuse(module):
    def call(*_):
        raise AssertionError("nobody looks at what this head predicts")

    module.register_forward_pre_hook(call)


@pytest.mark.parametrize("head", ["SemSegFPNDiceHead", "SemSegFPNEntropyHead", "SemSegMapHead"])
def test_classes_are_those_of_the_scores_and_other_heads_do_not_run(head):
    cfg = small_cfg(DETECTION, SEMANTIC, DEPTH)
    cfg.MODEL.SEM_SEG_HEAD.NAME = head
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    model = small_model(cfg=cfg).eval()
    everything = predictions(model)
    refuse(model.head)
    refuse(model.depth_head)
    asked = predictions(model, Wanted(frozenset({SEMANTIC}), frozenset({SEMANTIC})))
    assert [set(output) for output in asked] == [{"sem_seg"}] * 2
    for output, full in zip(asked, everything, strict=True):
        assert torch.equal(output["sem_seg"].long(), full["sem_seg"].max(dim=0).indices)


def test_classes_at_the_map_have_the_size_of_the_stored_image():
    model = small_model(SEMANTIC).eval()
    asked = predictions(model, Wanted(frozenset({SEMANTIC}), frozenset({SEMANTIC}), "map"))
    assert [tuple(output["sem_seg"].shape) for output in asked] == [(130, 200), (160, 224)]
    full = predictions(model)[1]["sem_seg"].max(dim=0).indices
    assert (asked[1]["sem_seg"] == full).float().mean() > 0.5


@pytest.mark.parametrize("head", ["SemSegFPNEntropyHead", "SemSegMapHead"])
def test_classes_of_a_head_with_a_forward_of_its_own_are_those_of_its_scores(head):
    cfg = small_cfg(SEMANTIC)
    cfg.MODEL.SEM_SEG_HEAD.NAME, cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = head, 32
    model = small_model(cfg=cfg).eval()
    plain = predictions(model, Wanted(None, frozenset({SEMANTIC})))
    kind = type(model.sem_seg_head)

    class Turned(kind):
        def forward(self, features, targets=None):
            scores, losses = super().forward(features, targets)
            return -scores, losses

    model.sem_seg_head.__class__ = Turned
    expected = [output["sem_seg"].max(dim=0).indices for output in predictions(model)]
    asked = predictions(model, Wanted(None, frozenset({SEMANTIC})))
    assert all(torch.equal(output["sem_seg"].long(), ids) for output, ids in zip(asked, expected, strict=True))
    assert not torch.equal(asked[0]["sem_seg"].long(), plain[0]["sem_seg"].long())


def test_head_that_cannot_enlarge_single_classes_gives_ids_of_its_predictions(monkeypatch):
    model = small_model(SEMANTIC).eval()
    expected = [output["sem_seg"].max(dim=0).indices for output in predictions(model)]
    monkeypatch.delattr("mtl_d2.modeling.heads.enlarging.Enlarging.enlarged")
    asked = predictions(model, Wanted(None, frozenset({SEMANTIC})))
    assert all(torch.equal(output["sem_seg"], ids) for output, ids in zip(asked, expected, strict=True))


def test_boxes_alone_need_no_mask_branch():
    model = small_model(cfg=small_rcnn_cfg(DETECTION, INSTANCE, SEMANTIC)).eval()
    everything = predictions(model)
    refuse(model.roi_heads.mask_head)
    refuse(model.sem_seg_head)
    for output, full in zip(predictions(model, Wanted(frozenset({DETECTION}))), everything, strict=True):
        assert set(output) == {"instances"}
        assert not output["instances"].has("pred_masks")
        assert full["instances"].has("pred_masks")
        assert torch.equal(output["instances"].pred_boxes.tensor, full["instances"].pred_boxes.tensor)
        assert torch.equal(output["instances"].scores, full["instances"].scores)


def test_masks_alone_bring_their_boxes():
    model = small_model(cfg=small_rcnn_cfg(DETECTION, INSTANCE)).eval()
    (first, _) = predictions(model, Wanted(frozenset({INSTANCE})))
    assert first["instances"].has("pred_masks")


def test_afterwards_everything_is_predicted_again_whatever_happened():
    model = small_model(DETECTION, SEMANTIC).eval()
    assert predictions(model, Wanted(frozenset())) == [{}, {}]
    with pytest.raises(KeyError), predicting(model, Wanted(frozenset())):
        model([{"a sample": "without an image"}])
    assert [set(output) for output in predictions(model)] == [{"instances", "sem_seg"}] * 2


def test_other_models_are_asked_for_nothing():
    other = nn.Linear(1, 1)
    with predicting(other, Wanted(frozenset())):
        assert not hasattr(other, "wanted")
