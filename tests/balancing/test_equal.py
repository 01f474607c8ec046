import math

import pytest
import torch
from torchjd.scalarization import GeometricMean
from toy import balancer, batch, context, scalarization, toy, weighting

from mtl_d2.balancing import Oracle


def value(losses, mean, present=None):
    return scalarization(3, "equal", mean)(torch.tensor(losses, dtype=torch.float64), context(3, present, losses))


def test_equal_is_the_sum_of_present_losses():
    assert weighting(3, "equal")(context(3)).tolist() == [1.0, 1.0, 1.0]
    assert value([2.0, 3.0, 4.0], "arithmetic", [True, False, True]).item() == 6.0


def test_equal_in_the_geometric_mean_is_gls():
    losses = torch.tensor([2.0, 4.0, 27.0], dtype=torch.float64)
    torch.testing.assert_close(value(losses.tolist(), "geometric"), GeometricMean()(losses))
    torch.testing.assert_close(value(losses.tolist(), "geometric"), torch.tensor(6.0, dtype=torch.float64))
    assert abs(value([2.0, 8.0, 5.0], "geometric", [True, True, False]).item() - 4.0) < 1e-14


@pytest.mark.parametrize(
    ("losses", "expected"), [([0.0, 8.0, 2.0], (4.0, [0.0, 0.25, 1.0])), ([0.0, 0.0, 0.0], (1.0, [0.0, 0.0, 0.0]))]
)
def test_a_loss_of_exactly_0_is_left_out_of_the_geometric_mean(losses, expected):
    scalar = scalarization(3, "equal", "geometric")
    leaf = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    S = scalar(leaf, context(3, losses=losses))
    assert S.item() == pytest.approx(expected[0])  # sqrt(8 * 2), of which the derivatives are 4 / (2 * 8), 4 / (2 * 2)
    assert torch.autograd.grad(S, [leaf])[0].tolist() == pytest.approx(expected[1])


def test_a_geometric_mean_of_a_negative_loss_is_refused_and_nan_stays():
    with pytest.raises(ValueError, match=r"needs losses >= 0, got \[1.0, -1.0, 1.0\]"):
        value([1.0, -1.0, 1.0], "geometric")
    assert value([1.0, math.nan, 0.0], "geometric").isnan()


def test_gls_differs_from_the_sum():
    model, found = toy(), []
    for mean in ("arithmetic", "geometric"):
        oracle = Oracle(model)
        oracle.load(batch(*[("detection", "semantic")] * 4))
        model.zero_grad()
        balancer(2, scalar=scalarization(2, "equal", mean))(oracle, 0, lambda: None)
        found.append(model.trunk[0].weight.grad.flatten())
    assert torch.cosine_similarity(*found, dim=0) < 0.9999
