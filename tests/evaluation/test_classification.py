"""Accuracies of classifications."""

import pytest

from mtl_d2.evaluation.classification import ClassificationEvaluator


def evaluate(samples, outputs, tasks=("class_a", "class_b")):
    evaluator = ClassificationEvaluator(tasks)
    evaluator.reset()
    for sample, output in zip(samples, outputs, strict=True):
        evaluator.process([sample], [output])
    return evaluator.evaluate()["accuracy"]


def test_accuracies_in_percent_and_their_harmonic_mean():
    samples = [{"class_a": 1, "class_b": 2}] * 4
    outputs = [{"class_a": 1, "class_b": 2}] * 2 + [{"class_a": 1, "class_b": 0}] * 2
    assert evaluate(samples, outputs) == {"class_a": 100.0, "class_b": 50.0, "harmonic_mean": pytest.approx(200 / 3)}


def test_samples_without_a_label_are_not_counted():
    samples = [{"class_a": 1}, {"class_a": 0, "class_b": 1}]
    assert evaluate(samples, [{"class_a": 1, "class_b": 0}] * 2)["class_b"] == 0.0
    assert evaluate(samples, [{"class_a": 1, "class_b": 0}] * 2)["class_a"] == 50.0


def test_nothing_right_has_harmonic_mean_0():
    assert evaluate([{"class_a": 1}], [{"class_a": 0}], ("class_a",)) == {"class_a": 0.0, "harmonic_mean": 0.0}


def test_image_without_an_answer_is_wrong():
    assert evaluate([{"class_a": 1}] * 2, [{"class_a": 1}, {}], ("class_a",))["class_a"] == 50.0
