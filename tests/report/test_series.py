from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mtl_d2.report.run import Run
from mtl_d2.report.series import read_series, running_average, thinned


def lines(*rows: dict[str, float]) -> list[str]:
    return [json.dumps(row) for row in rows]


def test_later_row_of_an_update_wins_and_an_undone_stretch_is_dropped():
    first = [{"iteration": t, "lr": t} for t in (0, 10, 20, 30)]
    resumed = [{"iteration": t, "lr": 100 + t} for t in (10, 15)]
    series, _ = read_series(lines(*first, *resumed))
    assert series["lr"].updates.tolist() == [0, 10, 15]
    assert series["lr"].values.tolist() == [0, 110, 115]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sem_seg_lane/mIoU", True),
        ("depth_disparity@rooms/abs_err", True),
        ("rooms/normals/mean_angle", True),
        ("panoptic_seg/PQ", True),
        ("own/score", True),  # in results.json
        ("cosine/depth_normals", False),
        ("depth", False),
        ("depth_near/abs_err", True),
        ("weight/depth/near", False),
        ("task_loss/depth", False),
    ],
)
def test_metrics_are_those_of_kinds_of_tasks_and_of_the_results(name, expected):
    config = {"MTL": {"TASKS": ["depth", "depth/near"]}}
    assert Run(Path(), config, results={"own": {"own": {"score": 1.0}}}).is_metric(name) == expected


def test_rows_of_one_write_may_come_in_any_order():
    series, _ = read_series(
        lines({"iteration": 19, "lr": 1}, {"iteration": 15, "cosine/a_b": 0.5}, {"iteration": 39, "lr": 2})
    )
    assert series["lr"].updates.tolist() == [19, 39]
    assert series["cosine/a_b"].updates.tolist() == [15]


def test_values_that_are_no_number_are_gaps():
    series, _ = read_series(
        ['{"iteration": 0, "lr": 1}', '{"iteration": 1, "lr": NaN}', '{"iteration": 2, "lr": null, "wd": 1e30}']
    )
    assert (series["lr"].updates.tolist(), series["lr"].gaps.tolist()) == ([0], [1, 2])
    assert np.isnan([series["lr"].last, series["wd"].last]).all()
    series, _ = read_series(lines({"iteration": 0, "lr": np.inf}, {"iteration": 1, "lr": 3}))
    assert series["lr"].last == 3


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
