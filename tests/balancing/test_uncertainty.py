import math

import pytest
import torch
from torchjd.scalarization import UW
from toy import complaints, context, scalarization, weighting

from mtl_d2.balancing.registry import WEIGHTINGS

LOSSES = [2.0, 0.5, 7.0]


def value(scalar, present=None):
    return scalar(torch.tensor(LOSSES, dtype=torch.float64), context(3, present, LOSSES))


def test_mtan_form_by_hand():
    # 1/2 e^0.5 L - 1/4 for each task at s = -0.5
    expected = 0.5 * math.exp(0.5) * 9.5 - 3 * 0.25
    assert value(scalarization(3, "uncertainty")).item() == pytest.approx(expected, rel=1e-14)


def test_each_kind_has_kendalls_factors():
    kinds = ("regression", "classification", "laplace")
    scalar = scalarization(3, "uncertainty", kinds=kinds, initial=0.3)
    e = math.exp(-0.3)
    expected = (0.5 * e * 2 + 0.5 * 0.3) + (e * 0.5 + 0.5 * 0.3) + (e * 7 + 0.3)
    assert value(scalar).item() == pytest.approx(expected, rel=1e-14)


def test_regression_form_is_torchjds():
    ours, theirs = scalarization(3, "uncertainty", initial=0.0), UW(3).double()
    s = torch.tensor([0.2, -1.0, 3.0], dtype=torch.float64)
    with torch.no_grad():
        ours.weighting.s.copy_(s)
        theirs.log_var.copy_(s)
    mine, other = value(ours), theirs(torch.tensor(LOSSES, dtype=torch.float64))
    mine.backward()
    other.backward()
    torch.testing.assert_close(mine, other, rtol=1e-14, atol=0)
    torch.testing.assert_close(ours.weighting.s.grad, theirs.log_var.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("kind", "variance"), [("regression", 1), ("classification", 2), ("laplace", 1)])
def test_optimal_s_is_the_log_of_the_variance(kind, variance):
    scalar = scalarization(3, "uncertainty", kinds=(kind,) * 3)
    with torch.no_grad():
        scalar.weighting.s.copy_((variance * torch.tensor(LOSSES)).log())
    value(scalar).backward()
    assert scalar.weighting.s.grad.abs().max() < 1e-6


def test_absent_task_leaves_the_sum_with_its_s():
    scalar = scalarization(3, "uncertainty")
    value(scalar, [True, False, True]).backward()
    assert value(scalar, [True, False, True]).item() == pytest.approx(0.5 * math.exp(0.5) * 9 - 0.5)
    assert scalar.weighting.s.grad[1] == 0
    assert scalar.weighting.s.grad[0] != 0


def test_unknown_kind_and_wrong_number_are_named():
    method = WEIGHTINGS.get("uncertainty")
    found = complaints(method, kinds=("gauss",), initial=math.nan)
    assert len(found) == 3
    assert "'gauss'" in found[0]
    assert "INITIAL must be a finite number, got nan" in found[1]
    assert "each of the 2 tasks" in found[2]
    assert complaints(method) == []


def test_state_survives():
    one, two = weighting(3, "uncertainty"), weighting(3, "uncertainty", initial=4.0)
    with torch.no_grad():
        one.s += torch.arange(3)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(context(3)), two(context(3)))
