"""Means and standard errors, by hand."""

import math

import numpy as np
import pytest

from mtl_d2.comparison.curves import mean_curve
from mtl_d2.comparison.statistics import summarize
from mtl_d2.report.charts import MAX_VERTICES
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


def test_mean_curve_by_hand_over_the_updates_that_both_runs_reach():
    first = Series("loss", np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    second = Series("loss", np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 9.0]))
    mean, error = mean_curve([first, second], smooth=False)
    assert mean.updates.tolist() == [1.0, 2.0]
    assert mean.values.tolist() == [4.0, 5.0]
    assert error.tolist() == pytest.approx([1.0, 0.0])


def test_a_single_run_has_no_band():
    mean, error = mean_curve([Series("loss", np.array([7.0]), np.array([2.0]))], smooth=True)
    assert (mean.updates.tolist(), mean.values.tolist(), error) == ([7.0], [2.0], None)


def test_runs_that_logged_other_updates_are_interpolated_between_them():
    sparse = Series("loss", np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    dense = Series("loss", np.array([0.0, 4.0, 10.0]), np.array([2.0, 2.0, 2.0]))
    mean, error = mean_curve([sparse, dense], smooth=False)
    assert mean.updates.tolist() == [0.0, 4.0, 10.0]
    assert mean.values.tolist() == [1.0, 3.0, 6.0]
    assert error.tolist() == pytest.approx([1.0, 1.0, 4.0])


def test_a_mean_of_long_runs_is_thinned_with_its_errors():
    runs = [Series("loss", np.arange(1000.0) * step, np.full(1000, step)) for step in (1.0, 3.0)]
    mean, error = mean_curve(runs, smooth=False)
    assert len(mean.updates) == len(mean.values) == len(error) == MAX_VERTICES
    assert mean.updates[[0, -1]].tolist() == [0, 999]
    assert set(mean.values) == {2.0}
    assert set(error) == {1.0}


def test_a_method_without_runs_has_an_empty_curve():
    mean, error = mean_curve([], smooth=True)
    assert (len(mean.updates), len(mean.values), error) == (0, 0, None)


def test_runs_that_share_no_update_still_have_a_curve():
    early, late = Series("a", np.array([0.0, 1.0]), np.array([1.0, 1.0])), Series("a", np.array([5.0]), np.array([3.0]))
    mean, _ = mean_curve([early, late], smooth=False)
    assert set(mean.values.tolist()) == {2.0}
