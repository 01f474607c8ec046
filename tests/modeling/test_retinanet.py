"""RetinaNet as a multi-task model: detectron2's own by default, the achievement paper's detector by its options."""

import math

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.anchor_generator import build_anchor_generator
from detectron2.structures import Boxes, pairwise_iou
from fvcore.nn import sigmoid_focal_loss
from small import assert_same_gradients, of_two_processes, sample, small_model
from small_retinanet import KINDS, in_double, small_retinanet_cfg

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data.objects import REGIONS
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import head_parameters, shared_parameters

DET, BOTH = ("detection",), ("detection", "semantic")
each_kind = pytest.mark.parametrize("kind", KINDS)


def retinanet(*tasks, kind="plain", **keys):
    return small_model(cfg=small_retinanet_cfg(*tasks, **{**KINDS[kind], **keys}))


def detectron2s(model, **keys):
    """detectron2's own RetinaNet over the same backbone and head."""
    cfg = small_retinanet_cfg("detection", **{"RETINANET.NORM": "", **keys})
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    theirs = build_model(cfg)
    theirs.backbone, theirs.head = model.backbone, model.head
    return theirs


def anchors_and_labels(model, one):
    levels = [model.backbone(model.batch_images([one]))[name] for name in model.head_in_features]
    anchors = model.anchor_generator(levels)
    (labels,), (boxes,) = model.label_anchors(anchors, [one["instances"]])
    return Boxes.cat(anchors), labels, boxes


@pytest.mark.parametrize("loss", ["smooth_l1", "giou", "diou", "ciou"])
def test_losses_are_detectron2s(loss):
    keys = {"RETINANET.BBOX_REG_LOSS_TYPE": loss, "RETINANET.SMOOTH_L1_LOSS_BETA": 0.2}
    model = retinanet("detection", **keys)
    theirs = detectron2s(model, **keys).train()
    samples = [sample("detection", seed=s, boxes=2 * s) for s in range(3)]
    for _ in range(2):  # the second with a moved normalizer
        found, expected = model(samples), theirs(samples)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-8)


def test_predictions_are_detectron2s():
    model = retinanet("detection").eval()
    with torch.no_grad():
        model.head.cls_score.bias.fill_(0.5)
        image = sample(size=(60, 90)) | {"height": 120, "width": 180}
        theirs = detectron2s(model).eval()
        (found,), (expected,) = model([image]), theirs([image])
    assert model.load_state_dict(theirs.state_dict(), strict=False).missing_keys == ["loss_normalizer"]
    found, expected = found["instances"], expected["instances"]
    assert len(found) > 10
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)


@each_kind
def test_image_without_boxes_is_background_everywhere(kind):
    model = retinanet("detection", kind=kind)
    losses = model([sample("detection", boxes=0)])
    assert losses["loss_cls"] > 0
    assert losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in head_parameters(model, model.tasks[0]))


def test_normalizer_stands_still_without_positives_and_is_saved():
    model = retinanet("detection")
    model([sample("detection", boxes=0)])
    assert model.loss_normalizer == 100
    model([sample("detection", boxes=3)])
    moved = model.state_dict()["loss_normalizer"].item()
    assert moved != 100
    model([sample("detection", boxes=0)])
    assert model.loss_normalizer == moved


def test_process_without_samples_follows_the_normalizer():
    class TwoRanks(Reduction):
        world_size = 2

        def total(self, value):
            return value + 40

    model = retinanet("detection")
    assert model.task_losses("detection", {}, [], TwoRanks()) == {}
    assert model.loss_normalizer == pytest.approx(100 * 0.9 + 40 * 0.1)


@each_kind
@pytest.mark.parametrize("sets", [[BOTH, BOTH], [DET, ("semantic",), DET]], ids=["all", "some"])
def test_rows_are_the_gradients_of_each_tasks_loss_alone(kind, sets):
    model = in_double(retinanet(kind=kind))
    samples = [sample(*tasks, seed=i, boxes=2 * i, size=(64, 96) if i else (48, 80)) for i, tasks in enumerate(sets)]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    oracle = Oracle(model)
    oracle.load(samples)
    found = oracle.gradients()
    model.load_state_dict(state)  # its normalizer
    losses = model(samples)
    for i, task in enumerate(model.tasks):
        own = sum(losses[key] for key in task.loss_keys)
        assert float(found.losses[i]) == pytest.approx(own.item(), rel=1e-12)
        wanted = [*oracle.shared, *oracle.heads[i]]
        expected = torch.autograd.grad(own, wanted, retain_graph=True, allow_unused=True)
        for g, e in zip([*found.rows[i], *found.heads[i]], expected, strict=True):
            if e is not None:
                assert (g - e).norm() <= 1e-10 * e.norm() + 1e-16


@each_kind
def test_two_processes_equal_one(kind):
    sets = [BOTH, DET, ("semantic",), BOTH]
    samples = [sample(*tasks, seed=i, boxes=i % 3, size=(48 + 16 * i, 96)) for i, tasks in enumerate(sets)]
    samples[3][REGIONS] = Boxes(torch.tensor([[0.0, 0.0, 50.0, 60.0]]))
    models = [in_double(retinanet(kind=kind)) for _ in range(3)]
    whole = Oracle(models[2])
    whole.load(samples)
    expected = whole.gradients()
    for found in of_two_processes(models, samples):
        assert_same_gradients(found, expected)


def gradients_of(model, samples, **options):
    """Losses and the row of the first task, flat."""
    oracle = Oracle(model, **options)
    oracle.load(samples)
    found = oracle.gradients()
    return found.losses, torch.cat([g.flatten() for g in found.rows[0] if g is not None])


@each_kind
@pytest.mark.filterwarnings("ignore")
def test_half_precision_gives_nearly_the_same(kind):
    samples = [sample(*BOTH, seed=i, boxes=3) for i in range(3)]
    losses, row = gradients_of(retinanet(kind=kind), samples)
    found, other = gradients_of(retinanet(kind=kind), samples, precision=Precision(torch.bfloat16))
    torch.testing.assert_close(found, losses, rtol=0.05, atol=0.0)
    assert other.dtype == torch.float32
    assert (row @ other) / row.norm() / other.norm() > 0.9


@each_kind
def test_micro_batches_alike_have_the_gradients_of_one_batch(kind):
    """Once the normalizer is the number of positives of what crosses the network at once."""
    samples = [sample(*DET, seed=i % 2, boxes=3) for i in range(4)]
    found = []
    for accumulate in (1, 2):
        model = in_double(retinanet("detection", kind=kind))
        labels = torch.stack([anchors_and_labels(model, one)[1] for one in samples[: 4 // accumulate]])
        positives = ((labels >= 0) & (labels < 4)).sum()
        model.loss_normalizer.fill_(positives)
        found.append(gradients_of(model, samples, accumulate=accumulate))
        assert model.loss_normalizer.item() == pytest.approx(positives.item())
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-14)


@each_kind
def test_simple_trainer_trains_it(kind):
    model = retinanet(kind=kind)
    data = [[sample(*BOTH, seed=s) for s in range(2)]] * 20
    trainer = SimpleTrainer(model, data, torch.optim.Adam(model.parameters(), lr=0.01))
    before = sum(model(data[0]).values()).item()
    trainer.train(0, 20)
    assert sum(model(data[0]).values()).item() < 0.8 * before


@pytest.mark.parametrize("task", ["detection", "semantic"])
def test_single_task_model_is_the_same_model_with_one_task(task):
    model = retinanet(task)
    sum(model([sample(*BOTH)]).values()).backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert (model.head is None, hasattr(model, "sem_seg_head")) == (task == "semantic", task == "semantic")
    assert all("fpn_lateral2" in n or "fpn_output2" in n for n in unused)  # detection never looks at p2
    with torch.no_grad():
        (output,) = model.eval()([sample()])
    assert len(output) == 1


def test_heads_and_trunk_divide_the_parameters():
    model = retinanet(kind="light")
    heads = [p for task in model.tasks for p in head_parameters(model, task)]
    shared = shared_parameters(model, model.tasks)
    assert {id(p) for p in [*heads, *shared]} == {id(p) for p in model.parameters()}
    assert {id(p) for p in shared} == {id(p) for p in model.backbone.parameters()}


def share_inside(box, region):
    """Of the box's area in the image, 96 x 64."""
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], 96), min(box[3], 64)
    width, height = min(x1, region[2]) - max(x0, region[0]), min(y1, region[3]) - max(y0, region[1])
    return max(width, 0) * max(height, 0) / ((x1 - x0) * (y1 - y0))


@pytest.mark.parametrize("matching", ["iou", "atss"])
def test_anchors_of_a_region_have_no_loss_unless_they_are_an_objects(matching):
    model = retinanet("detection", **{"RETINANET.MATCHING": matching})
    one, region = sample("detection", boxes=4, seed=3), [4.0, 6.0, 60.0, 50.0]
    outputs = []
    model.head.register_forward_hook(lambda m, args, out: outputs.extend(out[0]))
    found = model([one | {REGIONS: Boxes(torch.tensor([region]))}])["loss_cls"] * model.loss_normalizer
    logits = torch.cat([level[0].view(3, 4, -1).permute(2, 0, 1).reshape(-1, 4) for level in outputs])
    anchors, labels, _ = anchors_and_labels(model, one)
    inside = torch.tensor([share_inside(box, region) >= 0.5 for box in anchors.tensor.tolist()])
    assert (inside & (labels == 4)).any()
    assert (inside & (labels < 4)).any()
    counted = ~(inside & (labels == 4)) & (labels >= 0)
    target = torch.nn.functional.one_hot(labels[counted], 5)[:, :4].float()
    expected = sigmoid_focal_loss(logits[counted], target, alpha=0.25, gamma=2.0, reduction="sum")
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_classes_have_the_iou_of_the_predicted_box_as_target():
    """Boxes predicted as the anchors themselves, which the head does where its last convolution gives 0."""
    model, one = retinanet("detection", kind="light"), sample("detection", boxes=2, seed=1)
    with torch.no_grad():
        for branch in (model.head.boxes, model.head.classes):
            for level in branch:
                level[-1][0].weight.zero_()
        score = model.head.classes[0][-1][0].bias[0].sigmoid().item()
        anchors, labels, boxes = anchors_and_labels(model, one)
        losses = model([one])
    expected, of_boxes = 0.0, 0.0
    iou = pairwise_iou(anchors, Boxes(boxes)).diagonal()
    for label, target in zip(labels.tolist(), iou.tolist(), strict=True):
        background = 0.75 * score**2 * -math.log(1 - score)
        expected += 4 * background
        if label < 4:
            entropy = -target * math.log(score) - (1 - target) * math.log(1 - score)
            expected += 0.25 * (target - score) ** 2 * entropy - background
            of_boxes += 10 * (1 - target)
    assert losses["loss_cls"].item() == pytest.approx(expected / model.loss_normalizer.item(), rel=1e-4)
    assert losses["loss_box_reg"].item() >= of_boxes / model.loss_normalizer.item()  # CIoU <= IoU


@pytest.mark.parametrize("value", [math.inf, math.nan])
@each_kind
def test_boxes_that_are_not_finite_are_a_loss_that_is_not(kind, value):
    model = retinanet("detection", kind=kind, **{"RETINANET.BBOX_REG_LOSS_TYPE": "giou"})
    layer = model.head.bbox_pred if kind == "plain" else model.head.boxes[0][-1][0]
    layer.bias.data.fill_(value)
    assert all(loss.isnan() for loss in model([sample("detection", boxes=2)]).values())


def test_there_are_25200_anchors_at_640x640():
    cfg = small_retinanet_cfg(
        **{"ANCHOR_GENERATOR.SIZES": [[32], [64], [128]], "ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0, 2.0, 0.5]]}
    )
    generator = build_anchor_generator(cfg, [ShapeSpec(channels=64, stride=stride) for stride in (8, 16, 32)])
    anchors = generator([torch.empty(1, 64, 640 // stride, 640 // stride) for stride in (8, 16, 32)])
    assert [len(level) for level in anchors] == [19200, 4800, 1200]
    first = [(4 - w / 2, 4 - h / 2, 4 + w / 2, 4 + h / 2) for w, h in ((32, 32), (32 / 2**0.5, 32 * 2**0.5))]
    torch.testing.assert_close(anchors[0].tensor[:2], torch.tensor(first))


@pytest.mark.parametrize("norm", ["GN", "BN", ""])
def test_prior_is_the_initial_score_of_the_light_head(norm):
    model = retinanet("detection", kind="light", **{"RETINANET.PRIOR_PROB": 0.2, "RETINANET.NORM": norm})
    for level in model.head.classes:
        last = level[-1][-1]  # the batch norm, where there is one
        assert isinstance(last, torch.nn.BatchNorm2d) == (norm == "BN")
        torch.testing.assert_close(last.bias.sigmoid(), torch.full_like(last.bias, 0.2))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"RETINANET.BBOX_REG_LOSS_TYPE": "l2"}, "'l2', which is none of 'smooth_l1', 'giou', 'diou', 'ciou', 'iou'"),
        ({"RETINANET.MATCHING": "ats"}, r"MODEL\.RETINANET\.MATCHING must be one of 'iou', 'atss', got 'ats'"),
        ({"RETINANET.HEAD": "fcos"}, r"MODEL\.RETINANET\.HEAD must be one of 'retinanet', 'mbconv', got 'fcos'"),
        ({"RETINANET.CLASSIFICATION_TARGET": "soft"}, "CLASSIFICATION_TARGET must be one of 'hard', 'iou', got 'soft'"),
        ({"RETINANET.ATSS_CANDIDATES": 0}, "ATSS_CANDIDATES must be a whole number >= 1, got 0"),
        ({"RETINANET.BBOX_REG_LOSS_WEIGHT": 0.0}, "BBOX_REG_LOSS_WEIGHT must be a finite number > 0, got 0.0"),
        (
            {"ANCHOR_GENERATOR.SIZES": [[16], [32], [64]]},
            r"SIZES must be one list, .* the 2 levels .* \[1, 1, 1\]",
        ),
        ({"ANCHOR_GENERATOR.SIZES": [[16], [32, 64]]}, r"SIZES must be one list, .* got lists of \[1, 2\]"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_built(keys, said):
    cfg = small_retinanet_cfg()
    cfg.DATASETS.TRAIN = ("any",)
    cfg.merge_from_list([word for key, value in keys.items() for word in (f"MODEL.{key}", value)])
    with pytest.raises(ConfigError, match=said):
        check_mtl_config(cfg)
