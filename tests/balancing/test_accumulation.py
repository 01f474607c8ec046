"""Micro-batches: the update is that of the whole batch."""

import pytest
import torch
from toy import balancer, batch, mclgs, regularizer, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.batch import counts, divide_batch
from mtl_d2.balancing.exact.whole import one_backward
from mtl_d2.balancing.registry import AGGREGATORS, STEPS, WEIGHTINGS, load_methods

load_methods()
D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
BATCHES = {
    "both tasks": [B] * 8,
    "a task in one micro-batch": [D, S, D, D, D, D, D, D],
    "a part without a label": [(), (), D, S, B, B, S, D],
    "unequal parts": [B, D, S, B, D],
}
OPTIONS = {"dtp": {"source": "training"}}
METHODS = {
    **{f"weighting {name}": (lambda name=name: {"scalar": scalarization(2, name, **OPTIONS.get(name, {}))})
       for name in WEIGHTINGS.names() if name != "achievement"},
    **{f"aggregator {name}": (lambda name=name: {"built": stage(2, name)}) for name in AGGREGATORS.names()},
    **{f"step {name}": (lambda name=name: {"step": name, "built": stage(2, "mean", mclgs(2, a0=0.7))})
       for name in STEPS.names()},
    "geometric": lambda: {"scalar": scalarization(2, "equal", "geometric")},
    "cosreg": lambda: {"regularizer": regularizer(2, alpha=3.0)},
    "cosreg by differences": lambda: {"regularizer": regularizer(2, alpha=3.0, double_backward="finite")},
    "level features": lambda: {"level": "features", "built": stage(2, "mean", mclgs(2, a0=0.7))},
}  # fmt: skip


def train(accumulate, sets, method, updates=3):
    """Parameters, method state and the last Gramian and weights of a short training."""
    model, choices = toy(2), METHODS[method]()
    level = choices.pop("level", "all")
    built = balancer(2, **choices)
    built.level = level
    oracle = Oracle(model, accumulate=accumulate)
    optimizer = torch.optim.SGD([*model.parameters(), *built.parameters()], lr=0.05, momentum=0.9)
    for update in range(updates):
        oracle.load(batch(*sets, seed=update), update)
        result = built(oracle, update, optimizer.step)
    state = {**model.state_dict(), **{f"method {k}": v for k, v in built.state_dict().items()}}
    return state | {"weights": result.weights.shared, "losses": result.losses}, result


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_micro_batches_makes_the_same_update(method):
    whole, first = train(1, BATCHES["both tasks"], method)
    for accumulate in (2, 4):
        parts, result = train(accumulate, BATCHES["both tasks"], method)
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        if first.gramian is not None:
            torch.testing.assert_close(result.gramian, first.gramian, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["weighting fixed", "weighting famo", "aggregator mgda", "step lookahead", "cosreg"])
@pytest.mark.parametrize("sets", BATCHES)
def test_tasks_weigh_by_their_samples(sets, method):
    whole, _ = train(1, BATCHES[sets], method)
    parts, _ = train(3, BATCHES[sets], method)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_shares_are_of_the_samples_of_each_task():
    first = [True, True, False, True, True]
    second = [[True, False, True, True, False], [False, True, False, False, False]]  # of two sources
    parts = divide_batch(5, counts([first, *second], 2), (1, 2))
    assert [(part.first, part.length) for part in parts] == [(0, 2), (2, 3)]
    third = pytest.approx(1 / 3)
    assert [part.shares for part in parts] == [((0.5,), (third, 1.0)), ((0.5,), (pytest.approx(2 / 3), 0.0))]


def test_more_parts_than_samples_leaves_some_empty():
    parts = divide_batch(2, counts([[True, True], [True, False]], 4), (1, 1))
    assert sorted(part.length for part in parts) == [0, 0, 1, 1]


@pytest.mark.parametrize(("name", "passes"), [("fixed", 1), ("famo", 2)])
def test_weights_known_beforehand_take_one_trunk_backward_a_micro_batch(name, passes):
    model, seen = toy(2), []
    oracle = Oracle(model, accumulate=2)
    model.trunk[0].weight.register_hook(lambda gradient: seen.append(1))
    oracle.load(batch(B, B))
    balancer(2, stage(2, "sum"), scalarization(2, name))(oracle, 0, lambda: None)
    assert len(seen) == 2 * passes


class Saved:
    """Counts the elements that graphs keep for their backward passes."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Saved.now += tensor.numel()
        Saved.most = max(Saved.most, Saved.now)

    def __del__(self):
        Saved.now -= self.tensor.numel()


def most_saved(accumulate, run):
    model = toy(2)
    oracle = Oracle(model, accumulate=accumulate)
    oracle.load(batch(*[B] * 400))  # so many that the parameters hardly count
    Saved.now = Saved.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        run(oracle)
    return Saved.most


@pytest.mark.parametrize(
    "run",
    [
        lambda oracle: oracle.gradients(),
        lambda oracle: one_backward(oracle, lambda losses, present: torch.ones(2)),
        lambda oracle: oracle.head_gradients(),
    ],
    ids=["rows", "one backward", "heads"],
)
def test_graphs_of_one_micro_batch_at_a_time_are_in_memory(run):
    assert most_saved(4, run) < 0.3 * most_saved(1, run)
