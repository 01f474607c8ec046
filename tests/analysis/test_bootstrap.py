"""Intervals of means."""

import math

import numpy as np
import pytest

from mtl_d2.analysis.bootstrap import estimates


def test_the_mean_is_over_the_batches_that_a_quantity_is_defined_in():
    values = np.array([[1.0, math.nan, math.nan], [2.0, 5.0, math.nan], [6.0, math.nan, math.nan]])
    first, second, third = estimates(values)
    assert (first.mean, first.batches) == (3.0, 3)
    assert 1.0 <= first.low < 3.0 < first.high <= 6.0
    assert (second.mean, second.batches) == (5.0, 1)
    assert math.isnan(second.low)
    assert third is None


def test_values_that_are_all_the_same_have_no_spread():
    (only,) = estimates(np.full((4, 1), 0.25))
    assert only.low == pytest.approx(0.25)
    assert only.high == pytest.approx(0.25)


@pytest.mark.parametrize("n", [8, 16])
def test_nineteen_of_twenty_intervals_hold_the_true_mean(n):
    drawn = estimates(np.random.default_rng(0).normal(0.3, 0.2, size=(n, 4000)))
    share = np.mean([e.low <= 0.3 <= e.high for e in drawn])
    assert share == pytest.approx(0.95, abs=0.015)
