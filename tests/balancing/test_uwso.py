import math

import pytest
from toy import context, weighting


def test_weights_by_hand():
    found = weighting(2, "uwso", temperature=2.0)(context(2, losses=[0.5, 1.0]))
    one, other = math.exp(1.0), math.exp(0.5)
    assert found.tolist() == pytest.approx([one / (one + other), other / (one + other)])


def test_present_tasks_share_1():
    found = weighting(3, "uwso")(context(3, [True, False, True], [1.0, 9.0, 1.0]))
    assert found.tolist() == pytest.approx([0.5, 0, 0.5])


def test_a_loss_of_0_is_left_out_and_a_negative_one_refused():
    found = weighting(3, "uwso")(context(3, losses=[0.0, 1.0, 2.0]))
    assert found.tolist() == pytest.approx([0.0, math.exp(0.5) / (1 + math.exp(0.5)), 1 / (1 + math.exp(0.5))])
    with pytest.raises(ValueError, match="'uwso' needs losses >= 0"):
        weighting(2, "uwso")(context(2, losses=[-1.0, 1.0]))


@pytest.mark.parametrize("losses", [[0.0, 1.0], [1e-320, 0.0], [1e300, 1e-300]])
def test_tiny_and_huge_losses(losses):
    for temperature in (1e-9, 1.0, 1e9):
        found = weighting(2, "uwso", temperature=temperature)(context(2, losses=losses))
        assert float(found.sum()) == pytest.approx(1)
