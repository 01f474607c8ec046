import math

import pytest
import torch
from torchjd.scalarization import IMTLL
from toy import context, scalarization, weighting

LOSSES = torch.tensor([2.0, 0.5, 7.0], dtype=torch.float64)


def scalar_at(s, name="imtl_l"):
    scalar = scalarization(3, name)
    with torch.no_grad():
        scalar.weighting.s.copy_(torch.tensor(s, dtype=torch.float64))
    return scalar


def value(scalar, present=None):
    return scalar(LOSSES, context(3, present, LOSSES.tolist()))


def test_value_by_hand_and_the_sum_at_the_start():
    assert value(scalarization(3, "imtl_l")).item() == 9.5
    assert value(scalar_at([math.log(2), 0.0, 0.0])).item() == pytest.approx(4 - math.log(2) + 0.5 + 7)


def test_it_is_torchjds():
    ours, theirs = scalar_at([0.2, -1.0, 3.0]), IMTLL(3).double()
    with torch.no_grad():
        theirs.log_scale.copy_(ours.weighting.s)
    mine, other = value(ours), theirs(LOSSES)
    mine.backward()
    other.backward()
    torch.testing.assert_close(mine, other, rtol=1e-14, atol=0)
    torch.testing.assert_close(ours.weighting.s.grad, theirs.log_scale.grad, rtol=1e-14, atol=0)


def test_it_is_twice_uncertainty_at_minus_s():
    s = [0.2, -1.0, 3.0]
    torch.testing.assert_close(
        value(scalar_at(s)), 2 * value(scalar_at([-x for x in s], "uncertainty")), rtol=1e-14, atol=0
    )


def test_training_s_brings_every_scaled_loss_to_one():
    scalar = scalarization(3, "imtl_l")
    for _ in range(400):
        (gradient,) = torch.autograd.grad(value(scalar), [scalar.weighting.s])
        with torch.no_grad():
            scalar.weighting.s -= 0.1 * gradient
    torch.testing.assert_close(scalar.weighting(context(3)).detach() * LOSSES, torch.ones(3, dtype=torch.float64))


def test_absent_task_leaves_the_sum_with_its_s():
    scalar = scalar_at([1.0, 1.0, 1.0])
    value(scalar, [False, True, False]).backward()
    assert value(scalar, [False, True, False]).item() == pytest.approx(math.e / 2 - 1)
    assert scalar.weighting.s.grad.tolist() == pytest.approx([0, math.e / 2 - 1, 0])


def test_state_survives():
    one, two = scalar_at([0.5, 1.0, 2.0]).weighting, weighting(3, "imtl_l")
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(context(3)), two(context(3)))
