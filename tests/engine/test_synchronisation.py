"""What an update asks of the device while it runs: each transfer to the host waits for everything before it."""

import sys

import pytest
import torch
from detectron2.utils.events import EventStorage
from small import sample, small_model
from toy import balancer, batch, mclgs, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.data.allocation.full import Full
from mtl_d2.engine.loop import MultiTaskLoop
from mtl_d2.parallel.reduction import Reduction

B = ("detection", "semantic")
WAITING = ("cpu", "item", "tolist", "nonzero", "__bool__", "__float__", "__int__")


@pytest.fixture
def waits(monkeypatch):
    """(file, method) of every call on a tensor that would wait for a device, if the tensor were on one."""
    seen = []
    for name in WAITING:
        original = getattr(torch.Tensor, name)

        def spy(self, *args, name=name, original=original, **kwargs):
            seen.append((sys._getframe(1).f_code.co_filename, name))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, spy)
    return seen


@pytest.mark.parametrize("weighting", ["fixed", "gradnorm"])
def test_losses_and_gramians_come_to_the_host_in_one_transfer(waits, weighting):
    made = balancer(2, stage(2, "mean", mclgs(2)), scalarization(2, weighting))
    oracle = Oracle(toy(2))
    oracle.load(batch(B, B))
    made(oracle, 0, lambda: None)
    assert [name for file, name in waits if name == "cpu" and "mtl_d2" in file] == ["cpu"]


@pytest.mark.parametrize("clip", [None, 1.0])
def test_check_of_all_gradients_and_their_norm_come_in_one_more(waits, clip):
    model, made = toy(2), balancer(2, stage(2, "mean", mclgs(2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = MultiTaskLoop(model, optimizer, made, lambda start: [batch(B, B)], Full(made.setup, 2), clip_norm=clip)
    loop.iter = 0
    with EventStorage():
        loop.run_step()
    assert [name for file, name in waits if name in ("cpu", "item") and "mtl_d2" in file] == ["cpu", "cpu"]


def test_losses_of_a_detector_wait_for_nothing_of_ours(waits):
    model = small_model()
    samples = [sample(*B, seed=i) for i in range(2)]
    features = model.shared_features(model.batch_images(samples))
    waits.clear()
    with EventStorage():
        for task in B:
            model.task_losses(task, features, samples, Reduction())
            model.task_losses(task, {}, [], Reduction())
    assert [(file, name) for file, name in waits if "mtl_d2" in file] == []
    # detectron2's FCOS counts this process's positives for its log, and its box losses assert.
    assert {name for file, name in waits} <= {"item", "__bool__"}


def test_a_box_that_is_not_finite_makes_the_losses_of_its_task_so():
    model = small_model()
    with torch.no_grad():
        model.head.bbox_pred.bias.fill_(float("nan"))
    oracle = Oracle(model)
    oracle.load([sample(*B)])
    with (
        EventStorage(),
        pytest.raises(FloatingPointError, match=r"the loss is not finite for task detection \(nan\)\."),
    ):
        oracle.gradients()
    assert model.loss_normalizer.isfinite()
