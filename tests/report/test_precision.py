"""Numbers of a column at one precision, and the best of them."""

from __future__ import annotations

import math

import pytest

from mtl_d2.report.precision import best, higher_is_better, is_percentage, metric_precision, precision_of


def texts(values, percent=None):
    precision = precision_of(values, percent)
    return [precision(value) for value in values]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([0.00004, 25.37, 100.0], 1, ["0.0", "25.4", "100.0"]),
        ([0.00004, 0.0], 2, ["0.00", "0.00"]),
        ([25.375, 0.00004], None, ["25.38", "0.00"]),
        ([0.01234, 0.00004], None, ["0.01234", "0.00004"]),
        ([0.00004321, 0.0000005, 0.0], None, ["4.321e-5", "0.050e-5", "0.000"]),
        ([12345.6, 1.0], None, ["12346", "1"]),
        ([1.5e9, -2e8], None, ["1.500e9", "-0.200e9"]),
        ([math.nan, math.inf, 1.0], None, ["nan", "nan", "1.000"]),
        ([-0.001, 50.0], 1, ["0.0", "50.0"]),
        ([0.0], None, ["0.00"]),
        ([math.nan], None, ["nan"]),
        ([5e-324, 1e308], None, ["0.000", "1.000e308"]),
        ([5e-324], None, ["0.000"]),
    ],
)
def test_a_column_has_one_precision_that_fits_its_largest_value(values, percent, expected):
    assert texts(values, percent) == expected


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [
        ([0.00004, 0.0, 0.0], True, [False, False, False]),  # all 0.0 as shown
        ([25.31, 25.32, 20.0], True, [True, True, False]),  # equal as shown
        ([25.31, 20.0], False, [False, True]),
        ([25.3], True, [False]),
        ([25.3, math.nan], True, [False, False]),
        ([7.0, 7.0], True, [False, False]),
        ([], True, []),
    ],
)
def test_the_best_is_so_as_far_as_the_digits_tell(values, higher, expected):
    assert best(texts(values, 1), values, higher) == expected


def test_percentages_and_directions_are_known_by_group_and_name():
    assert is_percentage("bbox@my_set/AP-car")
    assert is_percentage("accuracy/class_left")
    assert not is_percentage("depth/abs_err")
    assert [higher_is_better(name) for name in ("depth/abs_err", "segm/AP", "own/what")] == [False, True, None]
    assert metric_precision("depth/abs_err", [0.1234567], 1)(0.1234567) == "0.1235"
