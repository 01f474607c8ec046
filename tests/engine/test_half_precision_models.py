"""Every meta-architecture trains in half precision and in micro-batches."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from small import sample, small_cfg, small_model, small_rcnn_cfg

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.config import add_mtl_config
from mtl_d2.engine.speed import speed_up

pytestmark = pytest.mark.filterwarnings("ignore")
DI, LR = ("detection", "instance"), ("class_left", "class_right")


def rcnn():
    return small_model(cfg=small_rcnn_cfg(*DI)), [sample(*DI, seed=i, boxes=2 + i) for i in range(3)]


def classifier():
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.MTL.TASKS = "MultiTaskClassifier", "cpu", LR
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0], [255.0]
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 1, 36, 36), dtype=torch.uint8)
    return build_model(cfg), [{"image": image, LR[0]: i, LR[1]: 5 - i} for i, image in enumerate(images)]


MODELS = {"rcnn": rcnn, "classifier": classifier}


def taken(name, **options):
    """Losses and flat rows of the tasks."""
    model, samples = MODELS[name]()
    oracle = Oracle(model, **options)
    torch.manual_seed(0)  # of sampled proposals
    with EventStorage(), torch.jit.optimized_execution(False):
        oracle.load(samples)
        found = oracle.gradients()
    shapes = oracle.shared
    rows = [[torch.zeros_like(p) if g is None else g for g, p in zip(r, shapes, strict=True)] for r in found.rows]
    return found.losses, [torch.cat([g.flatten() for g in row]) for row in rows]


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_gives_nearly_the_losses_and_gradients_of_float32(name):
    losses, rows = taken(name, precision=Precision(torch.bfloat16))
    expected, full = taken(name)
    torch.testing.assert_close(losses, expected, rtol=0.03, atol=0.0)
    assert not torch.equal(losses, expected)
    for one, other in zip(rows, full, strict=True):
        assert one.dtype == torch.float32
        assert (one @ other) / one.norm() / other.norm() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_micro_batches_give_nearly_the_losses_of_the_whole_batch(name):
    """Exactly where the loss is a mean over images; R-CNN's are means over proposals of a micro-batch."""
    losses, rows = taken(name, accumulate=2)
    expected, full = taken(name)
    torch.testing.assert_close(losses, expected, rtol={"rcnn": 0.3, "classifier": 1e-5}[name], atol=0.0)
    for one, other in zip(rows, full, strict=True):
        assert (one @ other) / one.norm() / other.norm() > {"rcnn": 0.7, "classifier": 0.9999}[name]


def test_proposals_of_predictions_that_are_not_finite_raise_on_no_process_alone():
    model, samples = rcnn()
    with torch.no_grad():
        model.proposal_generator.rpn_head.anchor_deltas.bias.fill_(float("inf"))
    oracle = Oracle(model)
    oracle.load(samples)
    with EventStorage(), pytest.raises(FloatingPointError, match="update 0: the loss is not finite for task detection"):
        oracle.gradients()


def test_channels_last_is_for_classifiers_too():
    cfg = small_cfg()
    cfg.MTL.CHANNELS_LAST = True
    model, samples = classifier()
    speed_up(model, cfg)
    second = model.get_parameter("backbone.3.weight")  # (20, 10, 5, 5)
    assert second.is_contiguous(memory_format=torch.channels_last)
    assert model.shared_features(model.batch_images(samples))["trunk"].isfinite().all()
