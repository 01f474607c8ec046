from __future__ import annotations

import json

import numpy as np
import pytest

from mtl_d2.report.plot import Axis, Curve, number, plot, tick_labels
from mtl_d2.report.series import read_series, running_average, thinned


def lines(*rows: dict[str, float]) -> list[str]:
    return [json.dumps(row) for row in rows]


def test_later_row_of_an_update_wins_and_an_undone_stretch_is_dropped():
    first = [{"iteration": t, "lr": t} for t in (0, 10, 20, 30)]
    resumed = [{"iteration": t, "lr": 100 + t} for t in (10, 15)]
    series, _ = read_series(lines(*first, *resumed))
    assert series["lr"].updates.tolist() == [0, 10, 15]
    assert series["lr"].values.tolist() == [0, 110, 115]


def test_rows_of_one_write_may_come_in_any_order():
    series, _ = read_series(
        lines({"iteration": 19, "lr": 1}, {"iteration": 15, "cosine/a_b": 0.5}, {"iteration": 39, "lr": 2})
    )
    assert series["lr"].updates.tolist() == [19, 39]
    assert series["cosine/a_b"].updates.tolist() == [15]


def test_running_average_by_hand():
    averages, span = running_average(np.array([1.0, 3.0]))
    assert span == 3  # keep = 1/2: (1, (1/4·1 + 1/2·3) / (3/4))
    np.testing.assert_allclose(averages, [1.0, 7 / 3])


def test_running_average_of_a_constant_is_that_constant():
    np.testing.assert_allclose(running_average(np.full(500, 4.2))[0], 4.2)


def test_thinning_keeps_the_ends():
    x, _ = thinned(np.arange(1000.0), np.arange(1000.0), 50)
    assert len(x) == 50
    assert x[[0, -1]].tolist() == [0, 999]


def test_axis_maps_its_ends_and_clamps_beyond_them():
    axis = Axis(0.0, 10.0, 100.0, 200.0)
    assert [axis(v) for v in (0, 5, 10, 99)] == [100, 150, 200, 200]
    assert axis.ticks(5) == [0, 2, 4, 6, 8, 10]
    assert Axis(0.0, 2.0, 0.0, 1.0).ticks(5, least=1.0) == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (12345, "12.35k"), (2.5e6, "2.5M"), (3e-5, "3e-5"), (-0.5, "-0.5")],
)
def test_short_numbers(value, text):
    assert number(value) == text


def test_small_numbers_are_short_enough_for_an_axis():
    assert [number(v) for v in (1.5e-4, 2e-4, -1e-9)] == ["1.5e-4", "2e-4", "-1e-9"]


def test_tick_labels_differ():
    assert tick_labels([1.77512, 1.77514]) == ["1.77512", "1.77514"]


@pytest.mark.parametrize("values", [[0.0], [1e29, -1e29], [5.0, 5.0, 5.0], [1e-30, 2e-30], []])
def test_any_finite_values_can_be_drawn(values):
    y = np.array(values)
    svg = plot([Curve("a", np.arange(len(y), dtype=float), y, "line", 0)], title="t", zero=True)
    assert svg.startswith("<svg")
    assert "nan" not in svg
    assert "inf" not in svg


def test_curve_runs_through_its_values():
    svg = plot([Curve("a", np.array([0.0, 10.0]), np.array([0.0, 1.0]), "line", 0)], title="t", floor=0.0)
    start, end = svg.split('class="line c0" d="M')[1].split('"')[0].split("L")
    assert start == "52.0 196.0"  # the lower left corner of the frame
    assert float(end.split()[0]) == 390
    assert float(end.split()[1]) == pytest.approx(196 - 186 / 1.04, abs=0.1)
