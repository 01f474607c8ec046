"""Cosines for the logs where no method needs them, and those between consecutive updates."""

import math

import pytest
import torch
from detectron2.utils.events import EventStorage
from test_methods_on_mask_rcnn import build_loop
from toy import balancer, batch, setup, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.whole import one_backward
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.engine.consecutive import ConsecutiveUpdates
from mtl_d2.engine.loop import MultiTaskLoop

pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = ("detection", "semantic")
NAME = "cosine/consecutive_updates"
PLAIN = ["MTL.GRADIENT.RESCALE", "", "MTL.GRADIENT.AGGREGATOR", "sum"]


def toy_loop(batches, every, step="joint", rate=0.0):
    model = toy(2)
    made = balancer(2, stage(2, "sum"), step=step)
    made.exact_every = every
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    allocation = ALLOCATIONS.get("full")(setup(2), 4)
    return MultiTaskLoop(model, optimizer, made, lambda start: batches, allocation)


def logged(loop, updates):
    """What each update logs."""
    found = []
    for update in range(updates):
        with EventStorage() as events:
            loop.iter = update
            loop.run_step()
            found.append({name: value for name, (value, _) in events.latest().items() if name.startswith("cosine/")})
    return found


def direction(samples):
    """The gradient of the plain sum of the losses at the toy's first parameters."""
    oracle = Oracle(toy(2))
    oracle.load(samples)
    one_backward(oracle, lambda losses, present: torch.ones_like(losses))
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in oracle.shared])


def test_cosine_of_two_directions_by_hand():
    first, second = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))
    compare = ConsecutiveUpdates([first, second], lambda update: update % 2 == 0)
    found = []
    for update, (a, b) in enumerate([([3.0, 4.0], None), ([4.0, 3.0], [12.0]), ([0.0, 1.0], [0.0])]):
        first.grad, second.grad = torch.tensor(a), None if b is None else torch.tensor(b)
        found.append(compare(update))
        first.grad.zero_()  # as clipping in place might: what was seen before is not touched
    assert found == [{}, {NAME: pytest.approx(24 / (5 * 13))}, {}]


def test_update_without_a_sample_has_no_direction():
    parameter = torch.nn.Parameter(torch.zeros(1))
    compare = ConsecutiveUpdates([parameter], lambda update: update == 0)
    found = []
    for gradient in (torch.ones(1), None, torch.ones(1)):
        parameter.grad = gradient
        found.append(compare(len(found)))
    assert found == [{}, {}, {}]


def test_every_kth_update_and_the_next_are_compared():
    batches = [batch(*[BOTH] * 4, seed=k) for k in range(4)]
    found = logged(toy_loop(batches, every=2), 4)
    assert [NAME in row for row in found] == [False, True, False, True]
    assert ["cosine/detection_semantic" in row for row in found] == [True, False, True, False]
    for k in (0, 2):
        one, other = direction(batches[k]), direction(batches[k + 1])
        assert found[k + 1][NAME] == pytest.approx(float(one @ other / one.norm() / other.norm()), rel=1e-12)


def test_cosine_of_the_tasks_is_that_of_their_gradients_on_other_images_too():
    samples = batch(("detection",), ("semantic",), ("semantic",), ("detection",))
    one, other = (direction([s for s in samples if s["tasks"] == (task,)]) for task in BOTH)
    (row,) = logged(toy_loop([samples], every=1), 1)
    assert row["cosine/detection_semantic"] == pytest.approx(float(one @ other / one.norm() / other.norm()), rel=1e-12)


def test_absent_task_has_no_cosine():
    assert logged(toy_loop([batch(("detection",), ("detection",))], every=1), 1) == [{}]


def test_first_move_of_a_split_step_is_what_is_compared():
    batches = [batch(*[BOTH] * 4, seed=k) for k in range(2)]
    joint, split = (logged(toy_loop(batches, 1, step), 2)[1][NAME] for step in ("joint", "split"))
    assert split == pytest.approx(joint, rel=1e-12)


def test_never_by_default():
    batches = [batch(*[BOTH] * 4, seed=k) for k in range(2)]
    assert logged(toy_loop(batches, every=0), 2) == [{}, {}]


@pytest.mark.parametrize("allocation", ["full", "sta", "ista"])
def test_looking_at_the_angles_changes_the_training_by_rounding_alone(allocation):
    few = ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 8, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4]  # so that they are drawn
    moves = []
    for every in (0, 1):
        loop = build_loop(["MTL.ALLOCATION.NAME", allocation, *PLAIN, *few, "MTL.GRADIENT.EXACT_EVERY", every])
        before = [p.detach().clone() for p in loop.model.parameters()]
        torch.manual_seed(5)
        found = logged(loop, 3)
        assert [math.isfinite(row.get(NAME, math.nan)) for row in found] == [False, bool(every), bool(every)]
        moves.append(torch.cat([(p - q).flatten() for p, q in zip(loop.model.parameters(), before, strict=True)]))
    assert (moves[1] - moves[0]).norm() < 0.01 * moves[0].norm()  # other draws of proposals: 0.3
