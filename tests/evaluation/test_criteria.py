"""What the best model is chosen by: metrics, sums of them, and the gain against single-task runs."""

import json
import math

import pytest
from detectron2.config import CfgNode, get_cfg

from mtl_d2.config import add_mtl_config
from mtl_d2.evaluation.criteria import chosen_by_itself, file_name, metric_value, read_criteria
from mtl_d2.evaluation.variants import as_plain, as_variant, variant_of


def config(select_by, **keys):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MTL.SELECT_BY = select_by
    for key, value in keys.items():
        cfg.MTL[key] = value
    return cfg


def one(select_by, **keys):
    (criterion,) = read_criteria(config(select_by, **keys))
    return criterion


RESULTS = {"bbox": {"AP": 30.0}, "sem_seg": {"mIoU": 50.0}, "depth": {"rmse": 4.0}}


@pytest.mark.parametrize(
    ("text", "metrics", "higher", "value"),
    [
        ("bbox/AP", ("bbox/AP",), True, 30.0),
        ("depth/rmse", ("depth/rmse",), False, 4.0),
        ("bbox/AP + 0.5 * sem_seg/mIoU", ("bbox/AP", "sem_seg/mIoU"), True, 55.0),
        ("bbox/AP+0", ("bbox/AP+0",), True, math.nan),  # a name, as its sign has no spaces around it
        ("2*bbox/AP - 1e1*depth/rmse", ("bbox/AP", "depth/rmse"), True, 20.0),
        ("-depth/rmse", ("depth/rmse",), True, -4.0),
    ],
)
def test_sums_are_read_as_they_are_written(text, metrics, higher, value):
    criterion = one(text)
    assert criterion.metrics == metrics
    assert criterion.higher is higher
    assert criterion.value(RESULTS) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    "metric",
    [
        "sem_seg/IoU-door, double door",
        "sem_seg/IoU-T - shirt",
        "accuracy@multi-mnist_val/harmonic_mean",
        "depth/delta_1.25",
    ],
)
def test_names_of_classes_and_sets_may_have_commas_and_signs(metric):
    assert one(metric).metrics == (metric,)
    first, second = read_criteria(config(f"{metric}, bbox/AP + {metric}"))
    assert first.metrics == (metric,)
    assert second.metrics == ("bbox/AP", metric)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AP", "must be 'group/metric' such as 'bbox/AP', a sum"),
        ("bbox/", "must be 'group/metric'"),
        ("bbox/AP,", "must be 'group/metric'"),
        ("bbox/AP, /AP", "got '/AP'"),
        ("bbox/AP + depth/rmse", "depth/rmse is better the lower it is: subtract it"),
        ("-1 * bbox/AP", "bbox/AP is better the higher it is: add it"),
        ("bbox/AP, bbox/AP", "two criteria whose model would be model_best_bbox_AP.pth"),
        ("bbox_EMA/AP", "is about averaged weights, but MTL.EMA.DECAY is 0"),
        ("bbox/AP + bbox_EMA/AP", "is about two models"),
        ("delta", "needs MTL.SELECT_REFERENCE"),
    ],
)
def test_what_cannot_be_chosen_by_is_refused_in_a_line(text, said):
    with pytest.raises(ValueError, match=r"MTL\.SELECT_") as refusal:
        read_criteria(config(text))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def results_file(folder, row):
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"equal": row, "own_row": "equal"}))
    return str(folder)


@pytest.fixture
def references(tmp_path):
    detection = results_file(tmp_path / "detection", {"bbox": {"AP": 40.0, "AP50": 60.0, "AP-car": 50.0}})
    depth = results_file(tmp_path / "depth", {"depth": {"abs_err": 0.5, "rmse": 2.0, "delta_1.25": 90.0}})
    return {"SELECT_REFERENCE": f"{detection}, {depth}/results.json", "TASKS": ("detection", "depth")}


def test_delta_is_the_mean_over_tasks_of_their_mean_relative_gain(references):
    criterion = one("delta", **references)
    assert criterion.higher
    assert set(criterion.metrics) == {"bbox/AP", "depth/abs_err", "depth/rmse"}
    results = {"bbox": {"AP": 44.0}, "depth": {"abs_err": 0.4, "rmse": 2.0}}
    assert criterion.value(results) == pytest.approx((10 + (20 + 0) / 2) / 2)
    assert math.isnan(criterion.value({"bbox": {"AP": 44.0}}))


def test_delta_of_averaged_weights_is_against_the_same_base(references):
    criterion = one("delta_EMA", **references, EMA=CfgNode({"DECAY": 0.9}))
    results = {"bbox_EMA": {"AP": 44.0}, "depth_EMA": {"abs_err": 0.4, "rmse": 2.0}}
    assert criterion.value(results) == pytest.approx(10.0)


def test_task_without_a_reference_is_named(references, tmp_path):
    with pytest.raises(ValueError, match="has no main metric, other than 0 and nan, of 'semantic'; it has depth/abs"):
        one("delta", **references | {"TASKS": ("detection", "depth", "semantic")})
    (tmp_path / "depth" / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is no results\.json of a run"):
        one("delta", **references)
    (tmp_path / "depth" / "results.json").unlink()
    with pytest.raises(ValueError, match=r"cannot be read: .*No such file"):
        one("delta", **references)


def test_accuracies_of_each_task_have_a_base(tmp_path):
    left = results_file(tmp_path / "left", {"accuracy": {"class_left": 80.0, "harmonic_mean": 80.0}})
    right = results_file(tmp_path / "right", {"accuracy": {"class_right": 50.0, "harmonic_mean": 50.0}})
    criterion = one("delta", SELECT_REFERENCE=f"{left},{right}", TASKS=("class_left", "class_right"))
    results = {"accuracy": {"class_left": 88.0, "class_right": 60.0, "harmonic_mean": 1.0}}
    assert criterion.value(results) == pytest.approx((10 + 20) / 2)


def test_model_chosen_by_the_results_themselves_is_said_and_one_by_a_set_of_its_own_is_not():
    assert not chosen_by_itself(config(""))
    assert not chosen_by_itself(config("bbox/AP"))
    assert "chosen by bbox/AP of the test sets" in chosen_by_itself(config("bbox/AP", SELECT_ON="test"))
    assert not chosen_by_itself(config("accuracy@multi_mnist_val/harmonic_mean", SELECT_ON="test"))


def test_files_are_named_after_their_criteria():
    assert file_name(one("bbox/AP + 0.5 * sem_seg/mIoU")) == "bbox_AP_plus_0.5_sem_seg_mIoU"
    assert file_name(one("accuracy@a/class_b")) == "accuracy_a_class_b"


def test_metric_that_is_not_there_is_nan():
    assert math.isnan(metric_value(RESULTS, "segm/AP"))


@pytest.mark.parametrize("name", ["bbox/AP", "bbox@own_val/AP", "sem_seg_lane", "accuracy@a_EMA/x"])
def test_variants_are_undone(name):
    assert not variant_of(name)
    assert variant_of(as_variant(name, "_EMA")) == "_EMA"
    assert as_plain(as_variant(name, "_EMA")) == name
