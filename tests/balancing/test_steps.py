import pytest
import torch
from torch import nn
from toy import balancer, batch, mclgs, regularizer, scalarization, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.exact.replay import Replay
from mtl_d2.tasks.task import head_parameters, shared_parameters

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
LR = 0.1


def make(model, samples, step, built=None, weights=(), inner_lr=None, updates=1):
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    oracle = Oracle(model)
    made = balancer(2, built or stage(2, "sum"), scalarization(2, weights=weights), step)
    if inner_lr is not None:
        made.step.inner_lr = inner_lr
    for update in range(updates):
        oracle.load(samples, update)
        result = made(oracle, update, optimizer.step)
    return result


def loss(model, samples, task):
    own = [s for s in samples if task in s["tasks"]]
    features = model.shared_features(model.batch_images(own))
    from mtl_d2.parallel.reduction import Reduction

    return sum(model.task_losses(task, features, own, Reduction()).values())


def parameters(model):
    return shared_parameters(model, model.tasks), {t.name: head_parameters(model, t) for t in model.tasks}


def moved(ps, gs, lr):
    return [p - lr * (torch.zeros_like(p) if g is None else g) for p, g in zip(ps, gs, strict=True)]


def set_to(ps, values):
    with torch.no_grad():
        for p, v in zip(ps, values, strict=True):
            p.copy_(v)


def by_the_paper(model, samples, inner_lr):
    """Eq. 2-4 written out; without the inner step where it is 0."""
    shared, heads = parameters(model)
    start = [p.detach().clone() for p in shared]
    outer = [torch.zeros_like(p) for p in shared]
    for task in heads:
        g = torch.autograd.grad(loss(model, samples, task), shared, allow_unused=True)
        set_to(shared, moved(start, g, inner_lr))
        ahead = torch.autograd.grad(loss(model, samples, task), shared, allow_unused=True)
        outer = [o if a is None else o + a for o, a in zip(outer, ahead, strict=True)]
        set_to(shared, start)
    set_to(shared, moved(start, outer, LR))
    new = {t: torch.autograd.grad(loss(model, samples, t), ps) for t, ps in heads.items()}
    for task, ps in heads.items():
        set_to(ps, moved([p.detach().clone() for p in ps], new[task], LR))


@pytest.mark.parametrize("sets", [[B, B, B], [D, S, S], [D, B, S]])
@pytest.mark.parametrize(("step", "inner_lr"), [("split", 0.0), ("lookahead", 0.05)])
def test_update_is_the_papers_equations(step, inner_lr, sets):
    ours, theirs = toy(2), toy(2)
    make(ours, batch(*sets), step, inner_lr=inner_lr)
    by_the_paper(theirs, batch(*sets), inner_lr)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-11, atol=1e-13, msg=lambda m, name=name: f"{name}: {m}")


def test_lookahead_without_inner_step_is_split():
    one, other = toy(2), toy(2)
    make(one, batch(B, B), "lookahead", stage(2, "mean", mclgs(2, a0=1.0)), inner_lr=1e-300, updates=3)
    make(other, batch(B, B), "split", stage(2, "mean", mclgs(2, a0=1.0)), updates=3)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=0)


def test_inner_step_is_the_heads_present_learning_rate_by_default():
    samples, found = batch(B, B), []
    for inner_lr, rate in ((None, 0.07), (0.07, 1.0)):
        model = toy(2)
        oracle, made = Oracle(model), balancer(2, stage(2, "sum"), step="lookahead")
        made.step.inner_lr = inner_lr
        oracle.load(samples, 0, rate)
        made(oracle, 0, torch.optim.SGD(model.parameters(), lr=LR).step)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*found)


def test_split_moves_the_heads_at_the_new_shared_parameters():
    joint, split = toy(2), toy(2)
    make(joint, batch(B, B), "joint", stage(2, "mean", mclgs(2, a0=0.0)))
    make(split, batch(B, B), "split", stage(2, "mean", mclgs(2, a0=0.0)))
    for p, q in zip(shared_parameters(joint, joint.tasks), shared_parameters(split, split.tasks), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(joint.heads["detection"].weight, split.heads["detection"].weight, rtol=1e-9)


@pytest.mark.parametrize("regularized", [False, True])
@pytest.mark.parametrize("sets", [[B, B, B], [D, S, S], [D, D, ()], [D, B, S]])
def test_constant_weights_take_one_trunk_backward_of_a_split_step(sets, regularized):
    found = []
    for exact_every in (0, 1):
        model, passes = toy(2), []
        model.trunk[0].weight.register_hook(passes.append)
        cosreg = regularizer(2) if regularized else None
        made = balancer(2, stage(2, "mean"), scalarization(2, weights=[0.3, 2.0]), "split", cosreg)
        made.exact_every = exact_every
        oracle = Oracle(model)
        oracle.load(batch(*sets))
        result = made(oracle, 0, torch.optim.SGD(model.parameters(), lr=LR).step)
        assert (result.gramian is None) == (exact_every == 0)
        found.append((len(passes), result, torch.cat([p.detach().flatten() for p in model.parameters()])))
    (once, short, one), (by_row, whole, other) = found
    assert once == by_row - (B in sets)
    assert short.terms == whole.terms
    assert torch.equal(short.weights.shared, whole.weights.shared)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("step", ["split", "lookahead"])
def test_batch_norm_statistics_move_once_from_the_pass_at_theta(step):
    samples, norm, other = batch(B, B, B), nn.BatchNorm1d(6), nn.BatchNorm1d(6)
    make(toy(2, norm), samples, step, inner_lr=0.1)
    make(toy(2, other), samples, "joint")
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, other.running_mean)


@pytest.mark.parametrize("step", ["split", "lookahead"])
def test_absent_task_is_left_alone(step):
    model = toy(2)
    before = [p.clone() for p in model.heads["semantic"].parameters()]
    result = make(model, batch(D, D), step, inner_lr=0.1)
    assert result.present.tolist() == [True, False]
    assert all(torch.equal(p, q) for p, q in zip(before, model.heads["semantic"].parameters(), strict=True))


def test_loss_shares_before_and_after_the_inner_step_add_up():
    result = make(toy(2), batch(B, B), "lookahead", inner_lr=0.1)
    for when in ("before", "after"):
        assert sum(result.scalars[f"share_{when}/{t}"] for t in ("detection", "semantic")) == pytest.approx(1)
    assert result.scalars["share_before/detection"] != result.scalars["share_after/detection"]


def test_replayed_pass_draws_the_same_numbers_and_leaves_no_trace():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    x = torch.randn(8, 3)
    replay = Replay(model)
    first = model(x)
    mean, state = model[0].running_mean.clone(), torch.get_rng_state()
    with replay.again():
        assert torch.equal(model(x), first)
    assert torch.equal(model[0].running_mean, mean)
    assert torch.equal(torch.get_rng_state(), state)
