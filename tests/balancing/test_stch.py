import math

import pytest
import torch
from observed import observed
from torchjd.scalarization import STCH
from toy import complaints, context, scalarization, weighting

from mtl_d2.balancing.registry import WEIGHTINGS


def weights(built, losses, update=0, present=None):
    return built(context(len(losses), present, losses, update))


def test_weights_by_hand():
    built = weighting(2, "stch", nadir=(1.0, 2.0), mu=0.5)
    # ratios 3 and 1: softmax of 2 log is 9 : 1
    assert weights(built, [3.0, 2.0]).tolist() == pytest.approx([2 * 0.9 / 3, 2 * 0.1 / 2])


def test_it_is_the_gradient_of_the_smooth_maximum_of_the_logarithms():
    nadir = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    losses = torch.tensor([1.0, 0.3, 4.0], dtype=torch.float64, requires_grad=True)
    S = 3 * STCH(mu=0.3, weights=torch.ones(3, dtype=torch.float64))((losses / nadir).log())
    (expected,) = torch.autograd.grad(S, losses)
    built = weighting(3, "stch", nadir=tuple(nadir.tolist()), mu=0.3)
    torch.testing.assert_close(weights(built, losses.tolist()), expected)


def test_warm_up_then_the_means_of_the_period():
    built = weighting(2, "stch", warmup=1, period=2, mu=1.0)
    for update, losses in enumerate([[100.0, 100.0], [2.0, 1.0], [4.0, 1.0]]):
        assert weights(built, losses, update).tolist() == pytest.approx([1 / loss for loss in losses])
        built.observe(observed(losses, update=update))
    assert built.references().tolist() == [3, 1]
    assert weights(built, [3.0, 3.0], 3).tolist() == pytest.approx([2 * 0.25 / 3, 2 * 0.75 / 3])
    assert built.scalars() == {"nadir_detection": 3.0, "nadir_semantic": 1.0}


def test_a_task_that_comes_later_gets_its_first_loss_as_reference():
    built = weighting(2, "stch", warmup=0, period=1)
    built.observe(observed([2.0, 0.0], [True, False]))
    assert weights(built, [2.0, 5.0], 1).tolist() == pytest.approx([1 / 2, 1 / 5])
    built.observe(observed([2.0, 5.0], update=1))
    built.observe(observed([2.0, 7.0], update=2))
    assert built.references().tolist() == [2, 5]


def test_a_losss_scale_does_not_matter_once_the_references_are_known():
    built = weighting(2, "stch", nadir=(1.0, 2.0))
    scaled = weighting(2, "stch", nadir=(1.0, 200.0))
    one, other = weights(built, [3.0, 2.0]), weights(scaled, [3.0, 200.0])
    torch.testing.assert_close(one * torch.tensor([3.0, 2.0]), other * torch.tensor([3.0, 200.0]))


def test_bad_values_are_named():
    method = WEIGHTINGS.get("stch")
    assert (
        "nadir must be a list in which each entry is a finite number > 0"
        in complaints(method, nadir=(1.0, 0.0))[0].lower()
    )
    assert "one number for each of the 2 tasks" in complaints(method, nadir=(1.0,))[0]
    assert "mu must be a finite number > 0" in complaints(method, mu=0.0)[0].lower()
    with pytest.raises(ValueError, match="'stch' needs losses >= 0"):
        scalarization(2, "stch")(torch.tensor([-1.0, 1.0], dtype=torch.float64), context(2, losses=[-1.0, 1.0]))


def test_a_loss_of_zero_moves_nothing():
    found = weights(weighting(2, "stch", nadir=(1.0, 1.0)), [0.0, 2.0])
    assert found.tolist() == pytest.approx([0, 0.5])
    assert all(map(math.isfinite, weights(weighting(2, "stch", nadir=(1e-9, 1e9), mu=1e-3), [1e9, 1e-9]).tolist()))
