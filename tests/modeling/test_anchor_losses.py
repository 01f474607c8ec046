"""Losses of detectors with anchors."""

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from fvcore.nn import sigmoid_focal_loss
from torchvision.ops import box_iou

from mtl_d2.modeling.heads.anchor_losses import BOX_LOSSES, focal_loss, iou_loss, matched_iou


def pairs(seed=0, number=40):
    generator = torch.Generator().manual_seed(seed)
    corner = 10 * torch.rand(2, number, 2, generator=generator).double()
    return torch.cat([corner, corner + 1 + 9 * torch.rand(2, number, 2, generator=generator)], 2)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.3, 1.5), (-1, 2.0), (0.25, 0.0)])
def test_of_hard_targets_the_focal_loss_is_retinanets(alpha, gamma):
    generator = torch.Generator().manual_seed(1)
    logits = 6 * torch.randn(50, 4, generator=generator)
    target = (torch.rand(50, 4, generator=generator) < 0.3).float()
    found = focal_loss(logits, target, alpha, gamma)
    torch.testing.assert_close(found, sigmoid_focal_loss(logits, target, alpha, gamma, reduction="sum"))


def test_of_a_quality_by_hand():
    """p = 0.5 and t = 0.9: |0.4|^2 log 2; background: 0.5^2 log 2."""
    found = focal_loss(torch.zeros(2).double(), torch.tensor([0.9, 0.0]).double(), 0.25, 2.0)
    expected = (0.25 * 0.16 + 0.75 * 0.25) * torch.tensor(2.0).double().log()
    torch.testing.assert_close(found, expected)


def test_it_is_least_where_the_score_is_the_quality():
    logits = torch.linspace(-4, 4, 801).double()
    losses = [focal_loss(logit[None], torch.tensor([0.7]).double(), 0.25, 2.0) for logit in logits]
    assert logits[torch.stack(losses).argmin()].sigmoid().item() == pytest.approx(0.7, abs=2e-3)


def test_scores_far_off_have_finite_gradients():
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    focal_loss(logits, torch.tensor([0.0, 1.0, 1.0, 0.0]), 0.25, 2.0).backward()
    assert logits.grad.isfinite().all()


def test_iou_is_torchvisions():
    boxes, others = pairs()
    torch.testing.assert_close(matched_iou(boxes, others), box_iou(boxes, others).diagonal())
    torch.testing.assert_close(iou_loss(boxes, others), (1 - box_iou(boxes, others).diagonal()).sum())


def test_boxes_without_an_area_have_no_iou_and_finite_gradients():
    boxes = torch.zeros(2, 4, requires_grad=True)
    matched_iou(boxes, torch.tensor([[0.0, 0, 0, 0], [0, 0, 2, 2]])).sum().backward()
    assert boxes.grad.isfinite().all()


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_no_object_costs_nothing_and_keeps_the_graph(name):
    deltas = torch.zeros(0, 4, requires_grad=True)
    loss = BOX_LOSSES[name](deltas, torch.zeros(0, 4), torch.zeros(0, 4), Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), 0.1)
    assert loss == 0
    loss.backward()
