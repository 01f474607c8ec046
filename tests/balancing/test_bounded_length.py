"""Aggregators that bound the length of an update of the shared parameters."""

import pytest
import torch
from toy import balancer, batch, stage, toy

from mtl_d2.balancing import Oracle
from mtl_d2.balancing.registry import AGGREGATORS

BOUNDING = [name for name, method in AGGREGATORS if method.bounds_length]
BOTH = ("detection", "semantic")


def moved(name, samples=(BOTH,) * 4, **options):
    """The gradient of the shared parameters, that of the heads, and what the update says of itself."""
    model = toy()
    oracle = Oracle(model)
    oracle.load(batch(*samples))
    made = balancer(2, stage(2, name, **options))
    made.level = "last_layer" if options.get("scale") == "mean" else "all"
    result = made(oracle, 0, lambda: None)
    heads = [p for head in oracle.heads for p in head]
    of = [torch.cat([p.grad.flatten() for p in group if p.grad is not None]) for group in (oracle.shared, heads)]
    return *of, result


@pytest.mark.parametrize("name", BOUNDING)
@pytest.mark.parametrize("scale", ["method", "mean"])  # with "mean", weights are of the last layer's gradients
def test_a_long_update_is_as_long_as_the_bound(name, scale):
    free, heads, _ = moved(name, max_norm=0.0, scale=scale)
    assert free.norm() > 1e-2
    short, same, result = moved(name, max_norm=1e-2, scale=scale)
    torch.testing.assert_close(short, free * (1e-2 / free.norm()), rtol=1e-9, atol=1e-12)
    assert torch.equal(same, heads)
    v = result.weights.shared * result.coefficients
    assert float(v @ result.gramian @ v) ** 0.5 == pytest.approx(1e-2)


@pytest.mark.parametrize("name", BOUNDING)
def test_a_short_update_is_left_alone(name):
    free, _, _ = moved(name, max_norm=0.0)
    assert torch.equal(moved(name, max_norm=float(free.norm()) * 1.01)[0], free)


def test_they_are_those_of_the_bargaining_methods():
    assert set(BOUNDING) == {"nash_mtl", "fairgrad", "pivrg"}
