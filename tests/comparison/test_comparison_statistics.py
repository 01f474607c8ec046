"""Means, standard errors and marks, by hand."""

import math

import numpy as np
import pytest

from mtl_d2.comparison.curves import mean_curve
from mtl_d2.comparison.statistics import Summary, marks, summarize
from mtl_d2.report.series import Series


def test_mean_and_standard_error_by_hand():
    """1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7, error sqrt(7 / 3)."""
    summary = summarize([1.0, 2.0, 6.0])
    assert summary.mean == pytest.approx(3)
    assert summary.error == pytest.approx(math.sqrt(7 / 3))
    assert summary.count == 3


def test_one_value_has_no_standard_error():
    summary = summarize([4.0])
    assert summary.mean == 4
    assert math.isnan(summary.error)


def test_values_that_are_not_finite_are_left_out_and_not_counted():
    assert summarize([math.nan, 1.0, math.inf, 3.0]) == summarize([1.0, 3.0])
    assert summarize([math.nan]).count == 0


def test_best_and_those_within_its_standard_error_are_marked():
    column = [Summary(10.0, 0.5, 3), Summary(9.6, 0.1, 3), Summary(9.4, 3.0, 3), Summary(math.nan, math.nan, 0)]
    assert marks(column, higher=True) == ["best", "near", "", ""]
    assert marks(column, higher=False) == ["near", "near", "best", ""]


def test_a_method_alone_is_not_the_best():
    assert marks([Summary(1.0, 0.1, 3), Summary(math.nan, math.nan, 0)], higher=True) == ["", ""]


def test_without_standard_errors_only_the_best_is_marked():
    assert marks([Summary(1.0, math.nan, 1), Summary(1.01, math.nan, 1)], higher=True) == ["", "best"]


def test_mean_curve_by_hand_over_the_updates_that_both_runs_reach():
    first = Series("loss", np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    second = Series("loss", np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 9.0]))
    x, mean, error = mean_curve([first, second], smooth=False)
    assert x.tolist() == [1.0, 2.0]
    assert mean.tolist() == [4.0, 5.0]
    assert error.tolist() == pytest.approx([1.0, 0.0])


def test_a_single_run_has_no_band():
    x, mean, error = mean_curve([Series("loss", np.array([7.0]), np.array([2.0]))], smooth=True)
    assert (x.tolist(), mean.tolist(), error) == ([7.0], [2.0], None)


def test_runs_that_share_no_update_still_have_a_curve():
    early, late = Series("a", np.array([0.0, 1.0]), np.array([1.0, 1.0])), Series("a", np.array([5.0]), np.array([3.0]))
    _, mean, _ = mean_curve([early, late], smooth=False)
    assert set(mean.tolist()) == {2.0}
