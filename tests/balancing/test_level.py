"""What the Gramian is taken of, and how often."""

import pytest
import torch
from toy import balancer, batch, context, mclgs, setup, stage, toy

from mtl_d2.balancing import Balancer, Oracle
from mtl_d2.balancing.exact.rows import cosines, gramian
from mtl_d2.tasks.task import shared_parameters

B = ("detection", "semantic")
ALL = ("detection", "semantic", "depth")


def run(level, built, samples, T=3, exact_every=0, update=0):
    model = toy(T)
    made = balancer(T, built)
    made = Balancer(setup(T), made.scalarization, made.gradient, made.step, level=level, exact_every=exact_every)
    oracle = Oracle(model)
    oracle.load(samples, update)
    return model, oracle, made(oracle, update, lambda: None)


def flat(model):
    return torch.cat([p.grad.flatten() for p in shared_parameters(model, model.tasks) if p.grad is not None])


@pytest.mark.parametrize("sets", [[ALL] * 4, [("depth", "semantic"), ("detection",), ALL]])
def test_feature_level_moves_along_the_weighted_exact_gradients(sets):
    samples = batch(*sets)
    approximate, _, result = run("features", stage(3, "mean", mclgs(3, a0=1.0)), samples)
    assert result.gramian is None
    weights = result.weights.shared
    _exact, oracle, _ = run("all", stage(3, "sum"), samples)
    rows = oracle.gradients().rows
    expected = [
        sum(w * r[k] for w, r in zip(weights, rows, strict=True) if r[k] is not None) for k in range(len(rows[0]))
    ]
    found = [p.grad for p in shared_parameters(approximate, approximate.tasks)]
    for one, other in zip(found, expected, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_feature_level_weights_come_from_the_features():
    samples = batch(*[ALL] * 4)
    model, _, result = run("features", stage(3, "mean", mclgs(3, a0=1.0)), samples)
    features = model.shared_features(model.batch_images(samples))
    pulls = []
    for task in model.tasks:
        from mtl_d2.parallel.reduction import Reduction

        loss = sum(model.task_losses(task.name, features, samples, Reduction()).values())
        found = torch.autograd.grad(loss, [features["fine"], features["coarse"]], retain_graph=True, allow_unused=True)
        pulls.append([torch.zeros_like(features["fine"]) if g is None else g for g in found])
    # "fine" is computed from "coarse": each feature's gradient is what its heads do to it directly
    flat_pulls = torch.stack([torch.cat([p.flatten() for p in pull]) for pull in pulls])
    direct = result.level_gramian
    torch.testing.assert_close(direct.diagonal()[0], (flat_pulls[0] ** 2).sum())
    assert cosines(direct)[0, 1] == 0  # detection looks at "coarse" alone, semantic at "fine"


def test_exact_cosines_are_logged_beside_the_approximate_ones_on_request():
    samples = batch(*[ALL] * 4)
    for update, known in ((0, True), (1, False), (2, True)):
        _, _, result = run("features", stage(3, "mean", mclgs(3)), samples, exact_every=2, update=update)
        assert (result.gramian is not None) == known


def test_last_layer_gramian_is_that_part_of_the_rows():
    samples = batch(*[ALL] * 4)
    _, oracle, result = run("last_layer", stage(3, "mean", mclgs(3, a0=1.0)), samples)
    rows = [[row[k] for k in oracle.last_layer] for row in oracle.gradients().rows]
    torch.testing.assert_close(result.level_gramian, gramian(rows))
    assert result.level_gramian[0, 0] == 0  # detection does not reach that layer
    alpha = mclgs(3, a0=1.0)(result.level_gramian, context(3))
    torch.testing.assert_close(result.weights.shared, alpha / 3)


def test_average_of_the_cosines_by_hand():
    def gram(cosine):
        return torch.tensor([[1.0, cosine], [cosine, 1.0]], dtype=torch.float64)

    scaling = mclgs(2, a0=1.0, r_t=None, delta_a=0.0, ema=0.75)
    scaling(gram(0.8), context(2))
    alpha = scaling(gram(-0.4), context(2, update=1))
    assert alpha[0].item() == pytest.approx(1 + torch.tensor(0.75 * 0.8 + 0.25 * -0.4).tanh().item())


def test_updates_in_between_use_the_last_cosines_and_one_backward():
    model, made = toy(2), balancer(2, stage(2, "mean", mclgs(2, a0=2.0, every=3)))
    oracle = Oracle(model)
    passes = []
    model.trunk.register_forward_hook(lambda m, i, out: out.register_hook(lambda g: passes.append(1)) and None)
    seen = []
    for update in range(4):
        passes.clear()
        oracle.load(batch(B, B, seed=update), update)
        result = made(oracle, update, lambda: None)
        seen.append((len(passes), result.gramian is not None))
        if update in (1, 2):
            p = made.gradient.scaling.pacing(update)
            expected = (torch.tanh(made.gradient.scaling.cosine[0, 1] * p) + 1) / 2
            assert result.weights.shared.tolist() == pytest.approx([expected.item()] * 2)
    assert seen == [(2, True), (1, False), (1, False), (2, True)]


@pytest.mark.parametrize("exact_every", [1, 2])
def test_gradients_that_the_logs_ask_for_leave_the_cosines_of_updates_in_between(exact_every):
    found = []
    for period in (0, exact_every):
        model, made = toy(2), balancer(2, stage(2, "mean", mclgs(2, a0=2.0, every=3)))
        made.exact_every = period
        oracle, optimizer = Oracle(model), torch.optim.SGD(model.parameters(), lr=0.1)
        for update in range(6):
            oracle.load(batch(B, B, seed=update), update)
            made(oracle, update, optimizer.step)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


def test_pair_that_has_not_met_counts_as_orthogonal():
    assert mclgs(2, every=2)(None, context(2, update=1)).tolist() == [1.0, 1.0]


def test_cosines_survive_a_checkpoint():
    one, other = mclgs(2, ema=0.5), mclgs(2, ema=0.5)
    one(torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64), context(2))
    other.load_state_dict(one.state_dict())
    assert other(None, context(2)).tolist() == one(None, context(2)).tolist()
