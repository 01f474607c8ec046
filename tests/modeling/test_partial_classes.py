"""Images annotated for some classes: of the others nothing is learnt, of these exactly what was learnt before."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from detectron2.structures import Instances
from small import assert_same_gradients, of_two_processes, sample, small_cfg, small_model, small_rcnn_cfg
from small_retinanet import LIGHT, small_retinanet_cfg
from torch import Tensor
from torch.nn import functional as F

from mtl_d2.balancing import Oracle
from mtl_d2.modeling.heads.partial_classes import HiddenClasses, negatives_left_out, of_annotated, united
from mtl_d2.modeling.heads.semantic import dice_loss
from mtl_d2.parallel.reduction import Reduction

ALL, THREE = [True] * 4, [True, False, True, True]
DETECTORS = {
    "fcos": (lambda: small_cfg("detection"), "head.cls_score", 4, 1),
    "retinanet": (lambda: small_retinanet_cfg("detection"), "head.cls_score", 4, 9),
    "light": (lambda: small_retinanet_cfg("detection", **LIGHT), None, 4, 9),
    "rcnn": (lambda: small_rcnn_cfg("detection"), "roi_heads.box_predictor.cls_score", 5, 1),
}


def annotated(one: dict[str, Any], classes: list[bool]) -> dict[str, Any]:
    return one | {"annotated_classes": torch.tensor(classes)}


def without_class(one: dict[str, Any], k: int) -> dict[str, Any]:
    instances = one["instances"]
    return one | {"instances": instances[instances.gt_classes != k]}


def rows_of_classes(model: Any, detector: str) -> list[Tensor]:
    """The gradient of the last layer's rows, by class."""
    _, name, classes, _ = DETECTORS[detector]
    grad = model.get_submodule(name).weight.grad
    return list(grad.unflatten(0, (-1, classes)).transpose(0, 1))


@pytest.mark.parametrize("detector", ["fcos", "retinanet", "rcnn"])
def test_a_class_that_is_not_annotated_has_no_gradient_and_the_others_theirs(detector: str) -> None:
    samples = [without_class(sample("detection", boxes=6, seed=seed), 1) for seed in range(2)]
    gradients = []
    for known in (ALL, THREE):
        model = small_model(cfg=DETECTORS[detector][0]())
        sum(model([annotated(one, known) for one in samples]).values()).backward()
        gradients.append(rows_of_classes(model, detector))
    whole, partial = gradients
    assert whole[1].abs().max() > 0
    assert partial[1].abs().max() == 0
    if detector != "rcnn":  # a softmax gives the others what the one had
        for k in (0, 2, 3):
            torch.testing.assert_close(whole[k], partial[k])


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_all_classes_annotated_is_bit_for_bit_no_key(detector: str) -> None:
    samples = [sample("detection", boxes=4, seed=seed) for seed in range(2)]
    found = []
    for batch in (samples, [annotated(one, ALL) for one in samples]):
        model = small_model(cfg=DETECTORS[detector][0]())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            torch.manual_seed(0)
            sum(model(batch).values()).backward()
            optimizer.step()
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_only_images_that_say_so_are_partly_annotated(detector: str) -> None:
    one = sample("detection", boxes=4, seed=1)
    partial = annotated(without_class(sample("detection", boxes=4, seed=2), 1), THREE)
    cfg = DETECTORS[detector][0]()
    mixed = small_model(cfg=cfg)([one, partial])
    explicit = small_model(cfg=cfg)([annotated(one, ALL), partial])
    assert all(torch.equal(mixed[key], explicit[key]) for key in mixed)


def test_an_object_of_a_class_that_is_not_exhaustive_is_a_positive_all_the_same() -> None:
    labels = torch.tensor([[0, 1, 4]])  # the last has no object
    left_out = negatives_left_out(labels, torch.tensor([[True, False, False, True]]))
    assert left_out.tolist() == [[[False, True, True, False], [False, False, True, False], [False, True, True, False]]]


def test_the_softmax_is_among_what_an_image_is_annotated_for_by_hand() -> None:
    # Class 1 is not annotated in the first image: background has 1 / (1 + 2) there, and 1 / (1 + 2 + 3) in the second.
    scores = torch.tensor([[2.0, 3.0, 1.0], [2.0, 3.0, 1.0], [2.0, 3.0, 1.0]]).log()
    of_images = [Instances((9, 9), gt_classes=torch.tensor(labels)) for labels in ([2, 1], [2])]
    known = torch.tensor([[True, False], [True, True]])
    p = of_annotated(scores, of_images, known).softmax(1)
    expected = [[2 / 3, 0, 1 / 3], [2 / 6, 3 / 6, 1 / 6], [2 / 6, 3 / 6, 1 / 6]]
    torch.testing.assert_close(p, torch.tensor(expected))


# FCOS's focal loss is fvcore's, which computes in float32.
@pytest.mark.parametrize(("detector", "rel"), [("fcos", 1e-5), ("retinanet", 1e-10), ("rcnn", 1e-10)])
def test_two_processes_have_the_gradients_of_one(detector: str, rel: float, float64: None) -> None:
    cfg = DETECTORS[detector][0]()
    samples = [sample("detection", boxes=3, seed=seed) for seed in range(4)]
    states = [THREE, ALL, [True, True, False, True], ALL]
    samples = [annotated(one, known) for one, known in zip(samples, states, strict=True)]
    models = [small_model(cfg=cfg).double() for _ in range(3)]
    oracle = Oracle(models[2])
    oracle.load(samples)
    expected = oracle.gradients()
    for found in of_two_processes(models[:2], samples):
        assert_same_gradients(found, expected, rel)


@pytest.mark.parametrize("negatives", ["background", "ignore"])
def test_the_rpn_learns_of_anchors_without_an_object_as_its_option_says(negatives: str) -> None:
    cfg = small_rcnn_cfg("detection")
    cfg.MODEL.RPN.PARTIAL_NEGATIVES = negatives
    empty = sample("detection", boxes=0)
    partial = small_model(cfg=cfg)([annotated(empty, THREE)])
    whole = small_model(cfg=cfg)([empty])
    assert whole["loss_rpn_cls"] > 0
    assert partial["loss_rpn_cls"] == (whole["loss_rpn_cls"] if negatives == "background" else 0)


def of_pixel(label: int, probabilities: tuple[int, ...] = (1, 2, 3)) -> tuple[Tensor, Tensor]:
    """Cross entropy and its gradient at one pixel of which class 0 is the other one, and may hide class 1."""
    logits = torch.tensor(probabilities).double().log()[None, :, None, None].requires_grad_()
    target = torch.tensor([[[label]]])
    hidden = HiddenClasses(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([[True, True]]))
    loss = F.cross_entropy(united(logits, target, hidden), target)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient.flatten()


def test_pixels_that_may_hide_a_class_have_the_loss_of_the_union_by_hand() -> None:
    # p = 1/6, 2/6, 3/6. Of the union {0, 1} P = 1/2, so the loss is log 2, and the gradient p_k - [k in union] p_k / P.
    loss, gradient = of_pixel(0)
    assert loss.item() == pytest.approx(math.log(2))
    assert gradient.tolist() == pytest.approx([1 / 6 - 1 / 3, 2 / 6 - 2 / 3, 3 / 6])


@pytest.mark.parametrize("label", [1, 2])
def test_pixels_that_are_labelled_are_what_they_are_said_to_be(label: int) -> None:
    loss, gradient = of_pixel(label)
    p = torch.tensor([1, 2, 3]).double() / 6
    assert loss.item() == pytest.approx(-math.log(p[label]))
    torch.testing.assert_close(gradient, p - F.one_hot(torch.tensor(label), 3))


def test_the_union_is_sure_where_the_scores_are_far_apart() -> None:
    logits = torch.tensor([-200.0, 300.0, 0.0])[None, :, None, None]
    target = torch.zeros(1, 1, 1, dtype=torch.long)
    hidden = HiddenClasses(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([[True, True]]))
    assert F.cross_entropy(united(logits, target, hidden), target) == 0


def test_dice_of_a_hidden_class_costs_nothing_where_it_may_be() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 1] = 60.0  # it sees the hidden class wherever the label says other
    hidden = HiddenClasses(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([[True, True]]))
    assert dice_loss(logits, target, 255).item() == pytest.approx(1)
    assert dice_loss(united(logits, target, hidden), target, 255).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("head", ["SemSegFPNDiceHead", "SemSegFPNEntropyHead", "SemSegMapHead"])
def test_semantic_heads_take_hidden_classes_image_by_image(head: str) -> None:
    cfg = small_cfg("semantic")
    cfg.MODEL.SEM_SEG_HEAD.NAME, cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = head, 32
    model, plain, hiding = small_model(cfg=cfg), sample("semantic", seed=1), sample("semantic", seed=2)
    hiding |= {"annotated_stuff_classes": torch.tensor([True, True, False, True, True]), "other_class": 0}

    def losses(*samples: dict[str, Any]) -> Tensor:
        features = model.shared_features(model.batch_images(list(samples)))
        return torch.stack(list(model.task_losses("semantic", features, list(samples), Reduction()).values()))

    as_labelled = {key: value for key, value in hiding.items() if key != "other_class"}
    assert torch.equal(losses(as_labelled), losses(sample("semantic", seed=2)))  # no pixel hides anything
    assert (losses(hiding) < losses(as_labelled)).all()
    torch.testing.assert_close(losses(plain, hiding), (losses(plain) + losses(hiding)) / 2)
