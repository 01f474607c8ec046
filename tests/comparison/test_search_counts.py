"""Which weights a search tries, where it judges them, and what that costs, by hand."""

import itertools
import math

import pytest

from mtl_d2.comparison.search_costs import Rung, cost, most_candidates, rungs
from mtl_d2.comparison.search_draws import candidates, points_per_range

TASKS = ("a", "b", "c")


def test_a_grid_is_even_in_the_logarithm_and_adds_up_to_the_number_of_tasks():
    """0.1, 1, 10 beside 1: shares 1/11, 1/2, 10/11 of 2."""
    drawn = candidates("grid", {"a": (0.1, 10.0)}, ("a", "b"), 3, seed=0)
    assert drawn == [(0.1818, 1.818), (1.0, 1.0), (1.818, 0.1818)]


def test_a_grid_over_two_ranges_is_their_product_and_a_fixed_task_keeps_its_ratio():
    drawn = candidates("grid", {"a": (1.0, 4.0), "b": 2.0, "c": (1.0, 9.0)}, TASKS, 4, seed=0)
    ratios = [(round(a / b, 2), round(c / b, 2)) for a, b, c in drawn]
    assert ratios == [(0.5, 0.5), (0.5, 4.5), (2.0, 0.5), (2.0, 4.5)]
    assert all(math.isclose(sum(weights), 3, rel_tol=1e-3) for weights in drawn)


def test_a_grid_of_one_is_the_middle():
    assert candidates("grid", {"a": (0.25, 4.0)}, ("a", "b"), 1, seed=0) == [(1.0, 1.0)]


@pytest.mark.parametrize(("count", "ranges", "points"), [(8, 1, 8), (8, 2, 2), (9, 2, 3), (26, 3, 2), (27, 3, 3)])
def test_points_of_a_range(count, ranges, points):
    assert points_per_range(count, ranges) == points


def test_draws_depend_on_the_seed_alone_and_a_longer_search_begins_with_the_shorter():
    weights = {"a": (0.1, 10.0), "c": (0.5, 2.0)}
    six = candidates("random", weights, TASKS, 6, seed=3)
    assert candidates("halving", weights, TASKS, 9, seed=3)[:6] == six
    assert candidates("random", weights, TASKS, 6, seed=4) != six
    assert len(set(six)) == 6


def test_draws_fill_the_range_evenly_in_the_logarithm():
    drawn = candidates("random", {"a": (0.01, 100.0)}, ("a", "b"), 400, seed=1)
    logs = [math.log10(a / b) for a, b in drawn]
    assert all(-2.01 <= log <= 2.01 for log in logs)
    for low in (-2, -1, 0, 1):
        assert 70 < sum(low <= log < low + 1 for log in logs) < 130


@pytest.mark.parametrize(
    ("count", "updates", "expected"),
    [
        (8, 100, [(12, 8), (25, 4), (50, 2), (100, 1)]),
        (5, 80, [(10, 5), (20, 3), (40, 2), (80, 1)]),  # of an odd number the larger part goes on
        (2, 9, [(4, 2), (9, 1)]),
        (1, 100, [(100, 1)]),
        (33, 160, [(10, 33), (20, 17), (40, 9), (80, 5), (160, 3)]),  # four halvings at most
        (8, 3, [(1, 8), (3, 4)]),  # no rung below one update
    ],
)
def test_rungs_by_hand(count, updates, expected):
    assert rungs("halving", count, updates) == [Rung(*pair) for pair in expected]


def test_a_search_without_halving_judges_at_the_end():
    assert rungs("random", 8, 100) == rungs("grid", 8, 100) == [Rung(100, 8)]


def test_costs_by_hand():
    """Of halving 5 over 80: 5 x 10, 3 x 10 more, 2 x 20 more, 1 x 40 more."""
    assert cost(rungs("random", 8, 100)) == 800
    assert cost(rungs("halving", 5, 80)) == 50 + 30 + 40 + 40
    assert cost(rungs("halving", 8, 100)) == 8 * 12 + 4 * 13 + 2 * 25 + 50


@pytest.mark.parametrize(
    ("by", "ranges", "available", "most"),
    [
        ("random", 1, 799, 7),
        ("random", 1, 800, 8),
        ("random", 1, 99, 0),
        ("grid", 2, 899, 4),
        ("grid", 2, 900, 9),
        ("halving", 1, 99, 0),
        ("halving", 1, 150, 2),  # 2 x 50 + 50
        ("halving", 1, 149, 1),
    ],
)
def test_candidates_that_a_budget_allows(by, ranges, available, most):
    assert most_candidates(by, ranges, 100, available) == most


def test_the_most_candidates_fit_and_no_larger_number_does():
    for updates, available in itertools.product((7, 16, 100), (50, 300, 1001)):
        most = most_candidates("halving", 1, updates, available)
        assert cost(rungs("halving", most, updates)) <= available
        assert all(cost(rungs("halving", n, updates)) > available for n in range(most + 1, 4 * most + 99))
