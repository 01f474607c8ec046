"""Delta against the rows that the papers print."""

import math

import pytest

from mtl_d2.evaluation.delta import CONVENTIONS, Metric, delta, direction

BDD = [Metric("bbox/AP", "detection", True), Metric("sem_seg/mIoU", "semantic", True)]
NYU = [
    Metric("mIoU", "semantic", True),
    Metric("pACC", "semantic", True),
    Metric("abs_err", "depth", False),
    Metric("rel_err", "depth", False),
    Metric("mean_angle", "normals", False),
    Metric("median_angle", "normals", False),
    Metric("within_11.25", "normals", True),
    Metric("within_22.5", "normals", True),
    Metric("within_30", "normals", True),
]
TWO = [Metric("rmse", "depth", False), Metric("mIoU", "semantic", True)]
SGD_BASE = "39.33 64.55 .5785 .2339 26.12 20.44 28.04 54.56 66.84"
ADAM_BASE = "37.88 63.43 .6287 .2532 24.96 19.12 30.14 57.46 69.38"
CAGRAD_BASE = "38.30 63.76 .6754 .2780 25.01 19.21 30.14 57.20 69.15"


def named(metrics, row):
    return dict(zip([m.name for m in metrics], map(float, row.split()), strict=True))


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        ("26.16 51.43", -3.33),
        ("15.33 46.61", 22.85),
        ("26.14 51.37", -3.25),
        ("26.09 51.42", -3.20),
        ("25.37 50.70", -1.05),
        ("26.31 51.82", -4.03),
    ],
)
def test_mclgs_table_4(row, printed):
    assert delta("mclgs", named(BDD, row), named(BDD, "25.37 49.66"), BDD) == pytest.approx(printed, abs=0.015)


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        ("40.88 66.14 .5489 .2290 27.83 23.23 23.63 48.93 62.15", 1.29),
        ("38.95 64.76 .5423 .2185 26.55 21.67 25.69 52.12 65.20", -0.50),
        ("20.52 53.16 .6635 .2532 26.00 20.45 28.07 54.58 66.96", 14.69),
        ("36.42 63.54 .5912 .2286 25.51 19.95 28.89 55.70 68.06", 0.71),
        ("40.73 66.24 .5558 .2275 27.70 23.07 23.70 49.25 62.49", 1.24),
        ("39.05 65.10 .5366 .2163 26.36 21.35 26.38 52.81 65.70", -1.40),
        ("40.56 66.13 .5538 .2251 27.90 23.35 23.26 48.70 61.99", 1.47),
        ("39.18 64.87 .5397 .2201 26.42 21.52 26.04 52.42 65.44", -0.81),
        ("39.39 65.27 .5578 .2270 25.88 20.61 27.69 54.34 66.98", -1.21),
        ("37.51 64.05 .5722 .2339 25.93 20.57 27.77 54.40 66.99", 0.78),
        ("40.98 66.43 .5729 .2358 27.51 22.96 23.96 49.44 62.65", 1.98),
        ("40.20 65.63 .5429 .2174 26.03 21.11 26.68 53.32 66.26", -2.12),
        ("41.37 66.47 .5513 .2230 25.50 20.22 28.26 55.16 67.75", -3.37),
        ("39.72 65.65 .5470 .2222 25.51 20.15 28.47 55.33 67.82", -2.74),
    ],
)
def test_mclgs_table_3_against_the_sgd_base(row, printed):
    assert delta("mclgs", named(NYU, row), named(NYU, SGD_BASE), NYU) == pytest.approx(printed, abs=0.015)


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        (SGD_BASE, -1.72),
        ("38.49 64.68 .5532 .2273 28.00 23.73 22.23 47.90 61.48", 1.73),
        ("37.51 64.35 .5351 .2215 26.51 21.69 25.56 52.12 65.20", -1.31),
        ("30.17 60.56 .6116 .2419 24.66 18.88 30.69 58.10 70.06", 2.52),
        ("39.07 64.91 .5542 .2229 27.25 22.74 24.00 49.88 63.22", -0.18),
        ("40.20 65.63 .5429 .2174 26.03 21.11 26.68 53.32 66.26", -3.71),
        ("37.28 63.52 .5478 .2273 26.35 21.30 26.53 52.85 65.64", -0.78),
    ],
)
def test_mclgs_supplement_against_the_adam_base(row, printed):
    assert delta("mclgs", named(NYU, row), named(NYU, ADAM_BASE), NYU) == pytest.approx(printed, abs=0.015)


@pytest.mark.parametrize(
    ("base", "row", "printed"),
    [
        (".747 54.71", ".745 53.22", -0.74),
        (".747 54.71", ".752 54.12", -0.30),
        (".747 54.71", ".735 54.80", 0.05),
        (".747 54.71", ".734 56.03", 0.66),
        (".585 43.9", ".584 45.7", 0.90),
        ("3.903 63.84", "3.831 64.79", 0.51),
        ("3.903 63.84", "5.252 65.09", -0.05),
        ("3.903 63.84", "3.790 68.84", 2.56),
    ],
)
def test_sta_tables_1_to_3(base, row, printed):
    assert delta("sta", named(TWO, row), named(TWO, base), TWO) == pytest.approx(printed, abs=0.01)


def test_sta_table_4_on_coco():
    metrics = [Metric(f"{g}/{n}", g, True) for g in ("segm", "bbox") for n in ("AP", "AP50")]
    base, sta = "38.624 59.428 35.206 56.559", "39.334 60.312 35.763 57.291"
    assert delta("sta", named(metrics, sta), named(metrics, base), metrics) == pytest.approx(0.72, abs=0.01)


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        ("39.29 65.33 .5493 .2263 28.15 23.96 22.09 47.50 61.08", 5.59),
        ("30.47 59.90 .6070 .2555 24.88 19.45 29.18 56.88 69.36", 1.38),
        ("39.79 65.49 .5486 .2250 26.31 21.58 25.61 52.36 65.58", 0.20),
        ("40.13 65.93 .5261 .2171 25.26 20.08 28.40 55.47 68.15", -4.04),
    ],
)
def test_cagrad_rows_of_nyuv2(row, printed):
    assert delta("cagrad", named(NYU, row), named(NYU, CAGRAD_BASE), NYU) == pytest.approx(printed, abs=0.015)


def test_acc_by_hand():
    """90 / 100 - 1 = -10 %, and an error of 4 in place of 5: 5 / 4 - 1 = +25 %."""
    assert delta("acc", named(TWO, "4 90"), named(TWO, "5 100"), TWO) == pytest.approx(7.5)


def test_tasks_with_more_metrics_weigh_more_in_cagrad_alone():
    metrics = [Metric("a/AP", "a", True), Metric("a/AP50", "a", True), Metric("b/AP", "b", True)]
    values, base = {"a/AP": 90.0, "a/AP50": 90.0, "b/AP": 130.0}, dict.fromkeys(["a/AP", "a/AP50", "b/AP"], 100.0)
    assert delta("mclgs", values, base, metrics) == pytest.approx(-10.0)
    assert delta("cagrad", values, base, metrics) == pytest.approx(-10 / 3)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "values", [{}, {"rmse": 1.0}, {"rmse": 1.0, "mIoU": math.nan}, {"rmse": math.inf, "mIoU": 1.0}]
)
def test_missing_or_infinite_values_have_no_delta(convention, values):
    assert math.isnan(delta(convention, values, {"rmse": 1.0, "mIoU": 2.0}, TWO))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_base_itself_has_zero_and_better_is_better(convention):
    base, better = {"rmse": 1.0, "mIoU": 50.0}, {"rmse": 0.9, "mIoU": 51.0}
    assert delta(convention, base, base, TWO) == pytest.approx(0)
    assert (delta(convention, better, base, TWO) > 0) == CONVENTIONS[convention].higher


def test_directions_are_known_by_name():
    assert direction("bbox@other/AP50") is True
    assert direction("depth/rmse") is False
    assert direction("bbox/APP") is None


def test_a_metric_of_no_task_does_not_count():
    metrics = [*TWO, Metric("accuracy/harmonic_mean", "", True)]
    values, base = {"rmse": 4.0, "mIoU": 90.0, "accuracy/harmonic_mean": 9.0}, {"rmse": 5.0, "mIoU": 100.0}
    assert delta("acc", values, base, metrics) == pytest.approx(7.5)
    assert math.isnan(delta("acc", values, base, metrics[2:]))
