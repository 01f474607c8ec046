import pytest
import torch
from torch import nn
from toy import balancer, batch, complaints, mclgs, regularizer, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.regularizer.cosreg import mean_squared_cosine
from mtl_d2.parallel.reduction import Reduction

D, S, B = ("detection",), ("semantic",), ("detection", "semantic")
ALL = ("detection", "semantic", "depth")


def penalty_by_autograd(model, samples, alpha):
    """The penalty with its graph, written out."""
    last = model.last_shared_parameters()
    rows = []
    for task in model.tasks:
        own = [i for i, s in enumerate(samples) if task.name in s["tasks"]]
        features = {k: f[own] for k, f in model.shared_features(model.batch_images(samples)).items()}
        loss = sum(model.task_losses(task.name, features, [samples[i] for i in own], Reduction()).values())
        found = torch.autograd.grad(loss, last, create_graph=True, allow_unused=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, last)]))  # noqa: B905
    return alpha * mean_squared_cosine(torch.stack(rows))


def updated(model, samples, reg, built=None, step="joint"):
    model.zero_grad()
    oracle = Oracle(model)
    oracle.load(samples)
    T = len(model.tasks)
    result = balancer(T, built or stage(T, "sum"), step=step, regularizer=reg)(oracle, 0, lambda: None)
    return result, {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def test_penalty_by_hand():
    # cosines 0.6, 0 and 0.8: (0.36 + 0 + 0.64) / 3
    rows = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 7.0]], dtype=torch.float64)
    assert mean_squared_cosine(rows).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_penalty_lies_between_zero_and_one_at_any_scale(scale):
    rows = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert mean_squared_cosine(scale * rows).item() == pytest.approx(mean_squared_cosine(rows).item())
    assert 0 <= mean_squared_cosine(rows) <= 1
    assert mean_squared_cosine(rows[:1].expand(3, 6)).item() == pytest.approx(1.0)


def test_zero_gradient_is_left_out_and_has_no_pull():
    rows = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = mean_squared_cosine(rows)
    value.backward()
    assert value.item() == pytest.approx(2 * 0.5 / 6)
    assert torch.isfinite(rows.grad).all()
    assert (rows.grad[1] == 0).all()


@pytest.mark.parametrize("sets", [[ALL] * 4, [("semantic", "depth"), ("detection", "semantic"), ("depth",)]])
@pytest.mark.parametrize("built", [None, "mclgs"])
@pytest.mark.parametrize("how", ["exact", "finite"])
def test_gradient_is_that_of_the_penalty(how, built, sets):
    model, samples = toy(3), batch(*sets)
    chosen = stage(3, "mean", mclgs(3, a0=0.5)) if built else None
    _, plain = updated(model, samples, None, chosen)
    result, found = updated(model, samples, regularizer(3, alpha=2.0, double_backward=how), chosen)
    penalty = penalty_by_autograd(model, samples, 2.0)
    assert result.scalars["penalty"] == pytest.approx(penalty.item(), rel=1e-9)
    names, parameters = zip(*model.named_parameters(), strict=True)
    tolerance = {"exact": 1e-10, "finite": 1e-6}[how]
    for name, expected in zip(names, torch.autograd.grad(penalty, parameters, allow_unused=True), strict=True):
        if expected is None:
            assert found[name] is None or torch.equal(found[name], plain[name])
        else:
            added = found[name] - (0 if plain[name] is None else plain[name])
            torch.testing.assert_close(added, expected, rtol=tolerance, atol=tolerance)


def test_split_step_regularizes_the_shared_parameters_alone():
    model, samples = toy(3), batch(*[ALL] * 4)
    _, plain = updated(model, samples, None, step="split")
    _, found = updated(model, samples, regularizer(3), step="split")
    assert torch.equal(found["heads.depth.weight"], plain["heads.depth.weight"])


def test_batch_norm_statistics_move_once():
    norm = nn.BatchNorm1d(6)
    updated(toy(3, norm), batch(*[ALL] * 4), regularizer(3))
    assert norm.num_batches_tracked == 1


def test_one_task_alone_has_no_penalty():
    model, samples = toy(2), batch(D, D)
    result, found = updated(model, samples, regularizer(2))
    _, plain = updated(model, samples, None)
    assert result.scalars["penalty"] == 0
    assert all(torch.equal(found[n], g) for n, g in plain.items() if g is not None)


def test_alpha_can_follow_the_mean_loss():
    model, samples = toy(3), batch(*[ALL] * 4)
    plain, _ = updated(model, samples, regularizer(3))
    scaled, _ = updated(model, samples, regularizer(3, times_loss=True))
    assert scaled.scalars["penalty"] == pytest.approx(plain.scalars["penalty"] * float(plain.losses.mean()))


def test_mean_loss_is_that_of_the_parameters_that_the_penalty_is_taken_at():
    # a lookahead's own losses are those after its inner steps, at other parameters for each task
    model, samples = toy(3), batch(*[ALL] * 4)
    result, _ = updated(model, samples, regularizer(3, times_loss=True), step="lookahead")
    here, _ = updated(toy(3), samples, None)
    penalty = penalty_by_autograd(toy(3), samples, 10.0).item()
    assert result.scalars["penalty"] == pytest.approx(penalty * float(here.losses.mean()), rel=1e-9)
    assert abs(float(result.losses.mean() / here.losses.mean()) - 1) > 0.1


def test_operator_without_second_derivative_is_named_with_the_mend():
    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, g):
            return g.clone()

        @staticmethod
        def backward(ctx, _):
            raise RuntimeError("double backwards is not supported")  # as torchvision's RoIAlign does

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return Backward.apply(g)

    class Wrapped(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    model = toy(3)
    model.heads["detection"] = nn.Sequential(Wrapped(), nn.Linear(3, 1).double())
    model.heads["depth"] = nn.Sequential(Wrapped(), nn.Linear(3, 1).double())
    with pytest.raises(RuntimeError, match=r"COSREG\.DOUBLE_BACKWARD to 'finite'"):
        updated(model, batch(*[ALL] * 3), regularizer(3))


def test_contradictions_are_told():
    method = type(regularizer(2))
    assert "ALPHA must be a finite number >= 0, got -1" in complaints(method, alpha=-1)[0]
    assert "two at least" in complaints(method, 1)[0]


def test_micro_batches_give_the_same_where_tasks_have_a_part_of_their_graph_in_common():
    found = []
    for accumulate in (1, 2):
        model = toy(3)
        oracle = Oracle(model, accumulate=accumulate)
        oracle.load(batch(*[ALL] * 4))
        balancer(3, stage(3, "sum"), regularizer=regularizer(3, alpha=30.0))(oracle, 0, lambda: None)
        found.append(torch.cat([p.grad.flatten() for p in oracle.shared if p.grad is not None]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
