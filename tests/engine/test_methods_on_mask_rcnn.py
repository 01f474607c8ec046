"""Each value of each choice once, in two updates of a small Mask R-CNN on samples made by hand."""

import math

import pytest
import torch
from detectron2.utils.events import EventStorage
from small import sample, small_model, small_rcnn_cfg
from test_methods_on_a_detector import CHOICES, NEEDED

from mtl_d2.config_check import check_mtl_config
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.build import build_allocation, build_balancer
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.engine.optimizer import add_weighting_parameters

pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = ("detection", "instance")
EXACT = ["MTL.REGULARIZER.NAME", "cosreg"]  # RoIAlign has no second derivative


def build_loop(overrides):
    cfg = small_rcnn_cfg()
    cfg.DATASETS.TRAIN = ("made by hand",)
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.MTL.GRADIENT.RESCALE = "mclgs"
    cfg.MTL.GRADIENT.AGGREGATOR = "mean"
    cfg.MTL.GRADIENT.MCLGS.A0 = 1.0
    cfg.SEED = 3
    cfg.merge_from_list([*overrides, *NEEDED.get(overrides[1], [])])
    check_mtl_config(cfg)
    model = small_model(cfg=cfg)
    batches = [
        [sample(*BOTH, seed=k) | {"position": k}, sample(*BOTH, seed=k + 9, boxes=k % 2) | {"position": k + 1}]
        for k in range(0, 8, 2)
    ]
    optimizer = MultiTaskTrainer.build_optimizer(cfg, model)
    balancer = build_balancer(cfg).to(torch.float64)
    add_weighting_parameters(optimizer, balancer, cfg)
    return MultiTaskLoop(model, optimizer, balancer, lambda start: batches[start // 2 :], build_allocation(cfg))


def make_updates(loop, count=2):
    with EventStorage() as events:
        for k in range(count):
            loop.iter = k
            loop.run_step()
        return events.latest()


@pytest.mark.parametrize("overrides", [c for c in CHOICES if c != EXACT], ids=lambda o: "-".join(map(str, o[1::2])))
def test_trains(overrides):
    loop = build_loop(overrides)
    before = [p.clone() for p in loop.model.parameters()]
    shown = make_updates(loop)
    assert all(torch.isfinite(p).all() for p in loop.model.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(before, loop.model.parameters(), strict=True))
    assert all(math.isfinite(value) for value, _ in shown.values())


def test_exact_cosreg_says_that_roi_align_has_no_second_derivative():
    with pytest.raises(RuntimeError, match="DOUBLE_BACKWARD to 'finite'"):
        make_updates(build_loop(EXACT))


def test_an_update_of_ista_trains_each_task_on_half_of_the_images_and_the_next_on_the_others():
    loop = build_loop(["MTL.ALLOCATION.NAME", "ista"])
    seen = []
    losses = loop.model.task_losses
    loop.model.task_losses = lambda task, f, samples, r: (
        seen.append((task, sorted(s["position"] for s in samples))) or losses(task, f, samples, r)
    )
    make_updates(loop)
    first, second = seen[:2], seen[2:]
    for (task, own), (_, rest) in zip(first, second, strict=True):
        assert sorted(own + rest) == [0, 1], task
    assert sorted(first[0][1] + first[1][1]) == [0, 1]
