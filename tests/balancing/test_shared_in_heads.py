"""Parameters that several heads reach, and the trunk does not: their per-task gradients are exact too."""

import pytest
import torch
from blocks import blocks
from toy import balancer, batch, mclgs, regularizer, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.parallel.reduction import Reduction

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
BATCHES = {
    "same images": [B] * 4,
    "disjoint images": [D, S, S, D],
    "some of both": [D, B, S, B, ()],
    "a task absent": [D, D],
}
C = (1.7, 0.3)


def own_loss(model, samples, task):
    chosen = [s for s in samples if task in s["tasks"]]
    features = model.shared_features(model.batch_images(chosen)) if chosen else {}
    return sum(model.task_losses(task, features, chosen, Reduction()).values()) if chosen else None


def by_autograd(model, samples, parameters):
    """(T, n) each task's gradient of ``parameters``, by a graph of the whole network for each; 0 where absent."""
    rows = []
    for task in model.tasks:
        loss = own_loss(model, samples, task.name)
        found = [None] * len(parameters)
        if loss is not None:
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        rows.append(flat(found, parameters))
    return torch.stack(rows)


def flat(gradients, parameters):
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradients, parameters, strict=True)]
    )


def grads(parameters):
    return flat([p.grad for p in parameters], parameters)


def update(model, samples, accumulate=1, level="all", apply=lambda: None, **choices):
    oracle, made = Oracle(model, accumulate=accumulate), balancer(len(model.tasks), **choices)
    made.level = level
    oracle.load(samples)
    return oracle, made(oracle, 0, apply)


def exact(**choices):
    return {"built": stage(2, "mean", mclgs(2, a0=0.7)), "scalar": scalarization(2, weights=C), **choices}


def test_a_parameter_is_shared_unless_one_task_alone_names_it():
    model = blocks()
    oracle = Oracle(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert [[names[id(p)] for p in own] for own in oracle.heads] == [
        ["heads.detection.weight", "heads.detection.bias"],
        ["heads.semantic.weight", "heads.semantic.bias"],
    ]
    inside = {names[id(p)] for p in oracle.shared} & {"mask.weight", "mask.bias", "loose.weight", "loose.bias"}
    assert len(inside) == 4
    assert len(oracle.shared) + 4 == len(list(model.parameters()))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", BATCHES)
def test_rows_and_direction_are_those_of_plain_autograd(name, accumulate):
    model, samples = blocks(), batch(*BATCHES[name])
    oracle, result = update(model, samples, accumulate, **exact())
    rows = by_autograd(model, samples, oracle.shared)
    torch.testing.assert_close(result.gramian, rows @ rows.T, rtol=1e-11, atol=1e-14)
    weights = result.weights.shared * torch.tensor(C, dtype=torch.float64)
    torch.testing.assert_close(grads(oracle.shared), weights @ rows, rtol=1e-11, atol=1e-14)
    for i, own in enumerate(oracle.heads):
        expected = by_autograd(model, samples, own)[i] * result.weights.heads[i] * C[i]
        torch.testing.assert_close(grads(own), expected, rtol=1e-11, atol=1e-14)


def test_a_parameter_that_an_absent_task_alone_reaches_has_no_gradient():
    model = blocks()
    update(model, batch(S, S), **exact())
    assert model.loose.weight.grad is None  # the last head does not look through it
    assert model.mask.weight.grad is not None


def test_one_backward_and_the_rows_agree():
    model, samples = blocks(), batch(*BATCHES["some of both"])
    oracle, _ = update(model, samples, built=stage(2, "sum"))
    plain = grads(oracle.shared)
    torch.testing.assert_close(plain, by_autograd(model, samples, oracle.shared).sum(0), rtol=1e-11, atol=1e-14)
    update(model, samples, built=stage(2, "sum", mclgs(2, a0=0.0)))
    torch.testing.assert_close(grads(oracle.shared), plain, rtol=1e-11, atol=1e-14)


def test_feature_level_moves_along_the_exact_gradients():
    model, samples = blocks(), batch(*BATCHES["some of both"])
    oracle, result = update(model, samples, level="features", built=stage(2, "mean", mclgs(2, a0=0.7)))
    expected = result.weights.shared @ by_autograd(model, samples, oracle.shared)
    torch.testing.assert_close(grads(oracle.shared), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("step", "inner_lr"), [("split", 0.0), ("lookahead", 0.05)])
def test_they_move_with_the_trunk_in_steps_of_two_moves(step, inner_lr):
    lr, model, other = 0.1, blocks(), blocks()
    samples = batch(*BATCHES["some of both"])
    made = balancer(2, stage(2, "sum"), step=step)
    made.step.inner_lr = inner_lr
    oracle = Oracle(model)
    oracle.load(samples)
    made(oracle, 0, torch.optim.SGD(model.parameters(), lr=lr).step)
    theirs = Oracle(other)
    with torch.no_grad():
        start, sizes = flat(theirs.shared, theirs.shared), [p.numel() for p in theirs.shared]

    def put(vector):
        with torch.no_grad():
            for p, value in zip(theirs.shared, vector.split(sizes), strict=True):
                p.copy_(value.view_as(p))

    total = torch.zeros_like(start)
    for i in range(2):
        put(start - inner_lr * by_autograd(other, samples, theirs.shared)[i])
        total += by_autograd(other, samples, theirs.shared)[i]
        put(start)
    put(start - lr * total)
    moves = [by_autograd(other, samples, own)[i] for i, own in enumerate(theirs.heads)]
    for own, move in zip(theirs.heads, moves, strict=True):
        with torch.no_grad():
            for p, g in zip(own, move.split([p.numel() for p in own]), strict=True):
                p -= lr * g.view_as(p)
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-11, atol=1e-13, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("way", "tolerance"), [("exact", 1e-10), ("finite", 1e-5)])
def test_a_regularizers_gradient_reaches_them(way, tolerance):
    model, samples = blocks(3), batch(*[("detection", "semantic", "depth")] * 4)
    last = model.last_shared_parameters()  # which the detection head does not look at
    choice = regularizer(3, alpha=300.0, double_backward=way)
    oracle, _ = update(model, samples, regularizer=choice, built=stage(3, "sum"), scalar=scalarization(3))
    found = grads(oracle.shared) - by_autograd(model, samples, oracle.shared).sum(0)
    pulls = [
        torch.cat([g.flatten() for g in torch.autograd.grad(own_loss(model, samples, t), last, create_graph=True)])
        for t in ("semantic", "depth")
    ]
    penalty = 300.0 / 3 * torch.cosine_similarity(*pulls, dim=0) ** 2  # one pair of three has a cosine
    expected = flat(torch.autograd.grad(penalty, oracle.shared, allow_unused=True), oracle.shared)
    assert (found - expected).norm() <= tolerance * expected.norm()
    place = next(k for k, p in enumerate(oracle.shared) if p is model.mask.weight)
    start = sum(p.numel() for p in oracle.shared[:place])
    assert expected[start : start + model.mask.weight.numel()].norm() > 0


def test_a_model_without_them_keeps_nothing_of_the_heads_passes():
    oracle = Oracle(toy(2))
    oracle.load(batch(B, D, S))
    found = oracle.feature_gradients()
    assert all(g is None for row in found.partial for g in row)
