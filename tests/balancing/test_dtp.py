import copy
import math

import pytest
import torch
from observed import observed
from toy import complaints, context, weighting

from mtl_d2.balancing.registry import WEIGHTINGS

TWO = {"metrics": ("bbox/AP", "sem_seg/mIoU")}


def results(ap, miou):
    return {"bbox": {"AP": ap, "AP-car": 1.0}, "sem_seg": {"mIoU": miou}}


def w(method):
    return method(context(2)).tolist()


def test_weights_by_hand_from_percent():
    method = weighting(2, "dtp", gamma=2.0, **TWO)
    assert w(method) == [1.0, 1.0]
    method.on_evaluation(results(20.0, 50.0))
    assert w(method) == pytest.approx([-(0.8**2) * math.log(0.2), -(0.5**2) * math.log(0.5)], rel=1e-14)


def test_accuracies_are_smoothed_from_the_second_on():
    method = weighting(2, "dtp", momentum=0.25, **TWO)
    method.on_evaluation(results(20.0, 50.0))
    method.on_evaluation(results(40.0, 50.0))
    assert method.scalars() == pytest.approx({"accuracy_detection": 0.25, "accuracy_semantic": 0.5})


def test_less_accurate_task_has_more_weight_and_a_perfect_one_hardly_any():
    method = weighting(2, "dtp", **TWO)
    method.on_evaluation(results(0.0, 100.0))
    assert w(method)[0] == pytest.approx(-math.log(1e-20))
    assert w(method)[1] == 1e-12


def test_best_is_in_the_unit_of_the_metric_and_an_error_is_inverted():
    method = weighting(2, "dtp", best=(1.0, 2.0), direction=("higher", "lower"), **TWO)
    method.on_evaluation(results(0.7, 8.0))
    assert method.accuracies.ratios.tolist() == pytest.approx([0.7, 0.25])


def test_what_is_perfect_has_to_be_said_of_an_error():
    error = {"metrics": ("sem_seg/mIoU", "depth/abs_err")}
    (line,) = complaints(WEIGHTINGS.get("dtp"), **error)
    assert line.startswith("BEST needs a value for each metric, as 'depth/abs_err' is an error")
    assert complaints(WEIGHTINGS.get("dtp"), **error, best=(100.0, 0.02)) == []
    method = weighting(2, "dtp", best=(100.0, 0.02), **error)
    method.on_evaluation({"sem_seg": {"mIoU": 70.0}, "depth": {"abs_err": 0.08}})
    assert method.accuracies.ratios.tolist() == pytest.approx([0.7, 0.25])


def test_training_losses_stand_in_for_accuracies():
    method = weighting(2, "dtp", source="training", gamma=1.0, **TWO)
    method.observe(observed([math.log(2), 0.0], [True, False]))
    method.on_evaluation(results(90.0, 90.0))  # has no say
    assert w(method) == pytest.approx([0.5 * math.log(2), 1.0])


def test_state_survives_before_and_after_the_first_evaluation():
    for evaluations in range(3):
        one, two = weighting(2, "dtp", **TWO), weighting(2, "dtp", **TWO)
        for k in range(evaluations):
            one.on_evaluation(results(10.0 + k, 20.0))
        two.load_state_dict(copy.deepcopy(one.state_dict()))
        for method in (one, two):
            method.on_evaluation(results(40.0, 40.0))
        assert w(one) == w(two)


def test_metrics_are_needed_for_evaluations_alone():
    method = WEIGHTINGS.get("dtp")
    (line,) = complaints(method)
    assert "METRICS needs a metric 'group/name'" in line
    assert complaints(method, source="training") == []
    assert complaints(method, **TWO) == []
    assert len(complaints(method, **TWO, best=(1.0, 0.0), momentum=0.0)) == 2


def test_absent_task_changes_no_weight():
    method = weighting(2, "dtp", **TWO)
    method.on_evaluation(results(20.0, 50.0))
    assert torch.equal(method(context(2)), method(context(2, [True, False])))
