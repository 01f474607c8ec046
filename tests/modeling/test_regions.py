"""Regions in which objects are not told apart: nothing is learnt of them, and everything else as before."""

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.structures import Boxes
from fvcore.nn import sigmoid_focal_loss
from pycocotools import mask as coco_mask
from small import assert_same_gradients, of_two_processes, sample, small_cfg, small_model, small_rcnn_cfg

from mtl_d2.balancing import Oracle
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.objects import REGIONS
from mtl_d2.modeling.heads.proposals import ANCHORS, PROPOSALS, predict, propose, rpn_losses
from mtl_d2.modeling.heads.regions import boxes_left_out
from mtl_d2.parallel.reduction import Reduction

DET, BOTH = ("detection",), ("detection", "instance")
EVERYTHING = [[0.0, 0.0, 96.0, 64.0]]
SOME = [[4.0, 6.0, 50.0, 40.0], [60.0, 0.0, 96.0, 30.0]]  # beside, over and within objects


def with_regions(one, boxes):
    return one | {REGIONS: Boxes(torch.tensor(boxes))}


def shares_inside(boxes, regions):
    """(K, R) the share of each box's own area in the image that lies in each region, one by one."""
    boxes = torch.stack([boxes[:, 0::2].clamp(0, 96), boxes[:, 1::2].clamp(0, 64)], 2).flatten(1)
    found = torch.zeros(len(regions), len(boxes))
    for k, (a0, b0, a1, b1) in enumerate(regions):
        for r, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            inside = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
            found[k, r] = inside / ((x1 - x0) * (y1 - y0))
    return found


def points_and_labels(model, one):
    """FCOS's anchor points (R, 2) and their labels (R,)."""
    levels = [model.backbone(model.batch_images([one]))[name] for name in model.head_in_features]
    anchors = model.anchor_generator(levels)
    (labels,), _ = model.label_anchors(anchors, [one["instances"]])
    return Boxes.cat(anchors).get_centers(), labels


@pytest.mark.parametrize("regions", [SOME, EVERYTHING], ids=["some", "everything"])
def test_points_of_a_region_have_no_loss_unless_they_are_an_objects(regions):
    model, one = small_model("detection"), sample("detection", boxes=4, seed=3)
    logits = []
    model.head.register_forward_hook(lambda m, args, out: logits.extend(x.detach().flatten(2) for x in out[0]))
    found = model([with_regions(one, regions)])
    points, labels = points_and_labels(model, one)
    inside = torch.tensor([any(a < x < c and b < y < d for a, b, c, d in regions) for x, y in points.tolist()])
    assert (inside & (labels < 4)).any()  # some are an object's all the same
    assert (inside & (labels == 4)).any()
    counted = ~(inside & (labels == 4))
    scores = torch.cat(logits[: len(model.head_in_features)], 2)[0].T[counted]  # (R', C)
    targets = torch.nn.functional.one_hot(labels, 5)[counted, :4].float()
    expected = sigmoid_focal_loss(scores, targets, alpha=0.25, gamma=2.0, reduction="sum") / model.loss_normalizer
    assert found["loss_fcos_cls"].item() == pytest.approx(expected.item(), rel=1e-5)
    plain = small_model("detection")([one])
    assert found["loss_fcos_cls"] < plain["loss_fcos_cls"]
    assert all(torch.equal(found[key], plain[key]) for key in ("loss_fcos_loc", "loss_fcos_ctr"))


def test_points_of_a_region_have_no_gradient():
    model, one = small_model("detection"), sample("detection", boxes=0)
    model([with_regions(one, EVERYTHING)])["loss_fcos_cls"].backward()
    assert all((p.grad == 0).all() for p in model.head.cls_score.parameters())


@pytest.mark.parametrize("cfg", [small_cfg("detection"), small_rcnn_cfg()], ids=["fcos", "rcnn"])
def test_a_region_that_holds_nothing_changes_no_bit(cfg):
    samples = [sample(*BOTH, seed=seed) for seed in range(2)]
    found = []
    for regions in ([], [[0.0, 0.0, 1.0, 1.0]]):
        model = small_model(cfg=cfg)
        losses = model([with_regions(one, regions) if regions else one for one in samples])
        sum(losses.values()).backward()
        found.append([*losses.values(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def proposals_of(model, one):
    """``one`` with labelled anchors and sampled proposals, and the anchors."""
    one = {**one}
    predictions = predict(model.proposal_generator, model.shared_features(model.batch_images([one])))
    rpn_losses(model.proposal_generator, predictions, [one])
    propose(model.proposal_generator, model.roi_heads, predictions, [one])
    return one, Boxes.cat(predictions.anchors).tensor


def test_half_of_a_boxs_own_area_makes_it_a_regions():
    boxes = Boxes(torch.tensor([[0.0, 0, 10, 10], [0, 0, 11, 10], [30, 30, 34, 34], [0, 0, 96, 64]]))
    target = sample("detection", boxes=0)["instances"]
    matcher = small_model(cfg=small_rcnn_cfg()).roi_heads.proposal_matcher
    left_out = boxes_left_out(boxes, Boxes(torch.tensor([[5.0, 0, 90, 60]])), target, matcher)
    assert left_out.tolist() == [True, True, True, True]
    left_out = boxes_left_out(boxes, Boxes(torch.tensor([[5.5, 0, 11, 60], [20, 20, 40, 40]])), target, matcher)
    assert left_out.tolist() == [False, True, True, False]  # 45 %, 50 %, all of it, a small part


@pytest.mark.parametrize("seed", range(5))
def test_the_share_is_that_of_pycocotools(seed):
    corners = torch.rand(200, 2, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([96.0, 64.0])
    boxes = torch.cat([corners.min(1).values, corners.max(1).values], 1)
    as_coco = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).double().numpy()
    target = sample("detection", boxes=0)["instances"]
    matcher = small_model(cfg=small_rcnn_cfg()).roi_heads.proposal_matcher
    expected = coco_mask.iou(as_coco[2:], as_coco[:2], [1, 1])  # (198, 2)
    found = boxes_left_out(Boxes(boxes[2:]), Boxes(boxes[:2]), target, matcher)
    assert found.tolist() == (expected >= 0.5).any(1).tolist()
    assert 2 < found.sum() < 196


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regions", [SOME, EVERYTHING], ids=["some", "everything"])
def test_anchors_of_a_region_are_sampled_for_objects_alone(seed, regions):
    model, one = small_model(cfg=small_rcnn_cfg(), seed=seed), sample(*BOTH, seed=seed, boxes=seed)
    plain, anchors = proposals_of(model, one)
    found, _ = proposals_of(model, with_regions(one, regions))
    labels, boxes = plain[ANCHORS]
    covered = (shares_inside(anchors, regions) >= 0.5).any(0)
    assert (covered & (labels == 0)).any()
    assert torch.equal(found[ANCHORS][0], torch.where(covered & (labels == 0), -1, labels))
    objects = labels == 1
    assert torch.equal(found[ANCHORS][1][objects], boxes[objects])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regions", [SOME, EVERYTHING], ids=["some", "everything"])
def test_proposals_of_a_region_are_sampled_for_objects_alone(seed, regions):
    model, one = small_model(cfg=small_rcnn_cfg(), seed=seed), sample(*BOTH, seed=seed, boxes=seed)
    plain, found = (proposals_of(model, s)[0][PROPOSALS] for s in (one, with_regions(one, regions)))

    def rows(proposals, chosen):
        both = torch.cat([proposals.proposal_boxes.tensor, proposals.gt_classes[:, None]], 1)[chosen]
        return sorted(map(tuple, both.tolist()))

    covered = (shares_inside(plain.proposal_boxes.tensor, regions) >= 0.5).any(0) & (plain.gt_classes == 4)
    assert covered.any()
    assert rows(found, slice(None)) == rows(plain, ~covered)


def test_the_mask_branch_learns_the_same():
    one = sample(*BOTH, seed=2)
    found = [small_model(cfg=small_rcnn_cfg())([s])["loss_mask"] for s in (one, with_regions(one, EVERYTHING))]
    torch.testing.assert_close(*found, rtol=1e-5, atol=0)


def test_an_image_that_is_nothing_but_a_region_costs_nothing_and_trains():
    model = small_model(cfg=small_rcnn_cfg())
    losses = model([with_regions(sample(*BOTH, boxes=0), EVERYTHING)])
    assert {key: loss.item() for key, loss in losses.items()} == dict.fromkeys(losses, 0.0)
    sum(losses.values()).backward()
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


# FCOS's focal loss is fvcore's, which computes in float32.
@pytest.mark.parametrize(
    ("cfg", "rel"), [(small_cfg("detection"), 1e-5), (small_rcnn_cfg(), 1e-10)], ids=["fcos", "rcnn"]
)
def test_two_processes_equal_one(float64, cfg, rel):
    samples = [sample(*BOTH, seed=i, boxes=i % 3, size=(48 + 16 * i, 96)) for i in range(4)]
    for i, regions in ((0, EVERYTHING), (2, SOME), (3, SOME[:1])):
        samples[i] = with_regions(samples[i], regions)
    models = [small_model(cfg=cfg).double() for _ in range(3)]
    whole = Oracle(models[2], Reduction())
    whole.load(samples)
    expected = whole.gradients()
    for found in of_two_processes(models, samples):
        assert_same_gradients(found, expected, rel)


@pytest.mark.parametrize("cfg", [small_cfg("detection"), small_rcnn_cfg("detection")], ids=["fcos", "rcnn"])
def test_detectron2s_trainer_trains_with_them(cfg):
    model = small_model(cfg=cfg)
    data = [[with_regions(sample("detection", seed=1), SOME), sample("detection", seed=2)]] * 2
    trainer = SimpleTrainer(model, data, torch.optim.SGD(model.parameters(), lr=0.01))
    trainer.train(0, 2)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_another_treatment_than_the_two_is_refused():
    cfg = small_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.MTL.DATA.CROWD_REGIONS = "backgound"
    with pytest.raises(ConfigError, match=r"MTL\.DATA\.CROWD_REGIONS is 'backgound'.* did you mean 'background'"):
        check_mtl_config(cfg)
