import copy

import pytest
import torch
from observed import observed
from toy import balancer, batch, context, scalarization, toy, weighting

from mtl_d2.balancing import Oracle


def show(method, losses, norms, present=None):
    w = method(context(len(losses)))
    method.observe(observed(losses, present, norms, coefficients=w))
    return method(context(len(losses)))


def test_first_step_by_hand():
    # norms 1 and 3, rates 1: target 2; slopes over the mean 1/2 and 3/2: w = (1.05, 0.85), then 2 w / 1.9
    w = show(weighting(2, "gradnorm", lr=0.1), [5.0, 7.0], [1.0, 3.0])
    assert w.tolist() == pytest.approx([2.1 / 1.9, 1.7 / 1.9], rel=1e-14)


def test_step_is_the_gradient_of_the_papers_loss():
    torch.manual_seed(0)
    method = weighting(4, "gradnorm", lr=1e-3, alpha=0.9)
    show(method, [1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 2.0, 0.5])
    w = method(context(4)).requires_grad_()
    rows = torch.randn(4, 6, dtype=torch.float64)
    losses = torch.tensor([0.5, 2.5, 1.0, 3.0], dtype=torch.float64)
    norms = (w[:, None] * rows).norm(dim=1)
    rates = losses / torch.tensor([1.0, 2.0, 3.0, 4.0])
    target = (norms.mean() * (rates / rates.mean()) ** 0.9).detach()
    (gradient,) = torch.autograd.grad((norms - target).abs().sum(), [w])
    expected = (w - 1e-3 * gradient / norms.mean()).detach()
    found = show(method, losses.tolist(), rows.norm(dim=1).tolist())
    torch.testing.assert_close(found, expected * 4 / expected.sum(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_at_rest_equal_rates_have_equal_norms_whatever_their_scale(scale):
    method = weighting(3, "gradnorm", lr=0.05)
    norms = [1.0 * scale, 4.0 * scale, 2.0 * scale]
    for _ in range(500):
        w = show(method, [1.0, 1.0, 1.0], norms)
    weighted = w * torch.tensor(norms)
    assert (weighted / weighted.mean() - 1).abs().max() < 1e-6
    assert w.sum().item() == pytest.approx(3.0)


def test_task_that_learns_slowly_gets_more_weight():
    method = weighting(2, "gradnorm")
    show(method, [1.0, 1.0], [1.0, 1.0])
    for _ in range(20):
        w = show(method, [0.9, 0.1], [1.0, 1.0])
    assert w[0] > 1.2 > w[1]


@pytest.mark.parametrize(("alpha", "grows"), [(0.0, False), (1.0, False), (1.5, True)])
def test_target_is_the_mean_norm_times_the_rate_to_the_power_alpha(alpha, grows):
    # norms 1.9 and 0.6: mean 1.25; rates 0.9 and 0.4 over their mean: 1.385 and 0.615; targets of the first task
    # 1.25, 1.73 and 2.04 for alpha 0, 1 and 1.5
    method = weighting(2, "gradnorm", alpha=alpha, lr=1e-6)
    show(method, [2.0, 3.0], [1.0, 1.0])
    assert (show(method, [1.8, 1.2], [1.9, 0.6])[0] > 1).item() == grows


def test_task_without_gradient_or_loss_leaves_the_weights_finite():
    method = weighting(2, "gradnorm")
    show(method, [1.0, 1.0], [0.0, 1.0])
    assert torch.isfinite(show(method, [0.0, 1.0], [0.0, 1.0])).all()
    assert torch.equal(method(context(2)), show(method, [0.0, 0.0], [0.0, 0.0]))


def test_weight_of_a_task_that_is_done_stays_positive():
    method = weighting(2, "gradnorm", lr=10.0)
    show(method, [1.0, 1.0], [1.0, 1.0])
    for _ in range(3):
        w = show(method, [0.0, 1.0], [1.0, 1.0])
    assert 0 < w[0] < 1e-9


def test_absent_task_keeps_its_weight_and_the_sum_stays():
    method = weighting(3, "gradnorm")
    show(method, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    before = method(context(3))
    after = show(method, [1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [True, True, False])
    assert after[2] == before[2]
    assert (after[:2] != before[:2]).all()
    assert after.sum().item() == pytest.approx(3.0)


def test_first_loss_is_the_first_that_a_task_has():
    method = weighting(2, "gradnorm")
    show(method, [3.0, 0.0], [1.0, 0.0], [True, False])
    show(method, [2.0, 5.0], [1.0, 1.0])
    assert method.first_losses.tolist() == [3.0, 5.0]


def test_state_survives():
    one, two = weighting(2, "gradnorm"), weighting(2, "gradnorm")
    show(one, [3.0, 1.0], [1.0, 5.0])
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    assert torch.equal(show(one, [1.0, 1.0], [1.0, 2.0]), show(two, [1.0, 1.0], [1.0, 2.0]))


def test_norms_are_those_of_the_last_shared_layer():
    model = toy()
    oracle = Oracle(model)
    oracle.load(batch(*[("detection", "semantic")] * 4))
    scalar = scalarization(2, "gradnorm")
    result = balancer(2, scalar=scalar)(oracle, 0, lambda: None)
    assert result.last_layer_norms[0] == 0  # detection does not use the layer ``fine``
    assert result.last_layer_norms[1] > 0
    assert scalar.weighting.weights[1] < 1 < scalar.weighting.weights[0]
