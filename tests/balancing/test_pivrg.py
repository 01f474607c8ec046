import math

import pytest
import torch
from test_nash_mtl import drawn
from toy import complaints, context, stage

from mtl_d2.balancing.registry import AGGREGATORS

ASKED = {"metrics": ("m/a", "m/b"), "potentials": (50.0, 80.0)}


def pivrg(**options):
    return stage(2, "pivrg", **{**ASKED, **options})


def weights(built, rows, present=None):
    return built(rows @ rows.T, context(len(rows), present)).shared


def show(built, a, b):
    built.aggregator.on_evaluation({"m": {"a": a, "b": b}})


def test_shares_by_hand():
    built = pivrg()
    assert built.aggregator.shares().tolist() == [1, 1]
    show(built, 50.0, 76.0)  # drops of 0 and 5 percent, less than ln 2 times the temperature
    share = built.aggregator.shares()
    assert share[1] / share[0] == pytest.approx(math.exp(0.5))
    show(built, 40.0, 80.0)  # 20 and 0: the largest ratio there is
    share = built.aggregator.shares()
    assert share[0] / share[1] == pytest.approx(2)


def test_weights_solve_the_equation():
    built, rows = pivrg(), drawn(2)
    show(built, 25.0, 76.0)
    share = torch.from_numpy(built.aggregator.shares())
    p = 2 * share / share.sum()
    G = rows @ rows.T / (rows.norm() ** 2 / 2)
    w = weights(built, rows)
    torch.testing.assert_close(G @ w, (p / w).sqrt(), rtol=1e-6, atol=1e-6)


def test_before_the_first_evaluation_it_is_fairgrad():
    rows = drawn(2)
    expected = stage(2, "fairgrad", alpha=2.0)(rows @ rows.T, context(2)).shared
    assert torch.equal(weights(pivrg(), rows), expected)


def test_a_task_that_lost_more_weighs_more():
    built, rows = pivrg(), drawn(2)
    even = weights(built, rows)
    show(built, 25.0, 80.0)
    uneven = weights(built, rows)
    assert uneven[0] / uneven[1] > even[0] / even[1]


def test_accuracies_survive_a_checkpoint():
    one, other, rows = pivrg(), pivrg(), drawn(2)
    show(one, 25.0, 80.0)
    other.load_state_dict(one.state_dict())
    assert torch.equal(weights(one, rows), weights(other, rows))


def test_alone_a_task_has_its_gradient():
    built, rows = pivrg(), drawn(2)
    show(built, 25.0, 80.0)
    assert weights(built, rows, [True, False])[0] == pytest.approx(1)


def test_missing_metrics_and_potentials_are_named():
    said = complaints(AGGREGATORS.get("pivrg"))
    assert any("METRICS needs a metric" in line for line in said)
    assert any("exactly one of POTENTIALS and POTENTIALS_FROM" in line for line in said)
    assert complaints(AGGREGATORS.get("pivrg"), **ASKED) == []
