"""Test sets that are annotated for some of their classes, or not for all that they show of one."""

import math

import numpy as np
import pytest
import torch
from object_sets import annotation, evaluate, predicted, record, registered
from own_sets import STUFF, THINGS

from mtl_d2.data import DataError
from mtl_d2.data.annotated_classes import EXHAUSTIVE, NOT_ANNOTATED
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.evaluation import rehearsal
from mtl_d2.evaluation.build import check_evaluation
from mtl_d2.evaluation.class_subsets import PixelSubset
from mtl_d2.evaluation.constant import ConstantMap, ConstantObjects
from mtl_d2.evaluation.semantic import semantic_evaluator
from mtl_d2.evaluation.voc_ap import VocEvaluator

CAR, DOG = 0, 1
LEFT, RIGHT = [5, 5, 20, 20], [40, 10, 30, 40]
NAME = "subset_set"
NUMBERS = ("AP", "AP50", "AP75", "AP-car", "AP-dog")


def run(records, outputs, folder, kind="bbox", **metadata):
    with registered(NAME, lambda: records, thing_classes=THINGS, **metadata):
        evaluator, metrics = evaluate(NAME, records, outputs, folder, (kind,))
        return [metrics[kind][name] for name in NUMBERS], evaluator.notes


def cars_and_dogs():
    """Two images that show a car at the left and a dog at the right; the second one's dog is not annotated."""
    return [record(1, annotation(LEFT, CAR), annotation(RIGHT, DOG)), record(2, annotation(LEFT, CAR))]


def both_found(scores=(0.9, 0.8)):
    return [predicted([LEFT, RIGHT], [CAR, DOG], scores) for _ in range(2)]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_predictions_of_a_class_that_is_not_annotated_are_neither_right_nor_wrong(tmp_path, kind):
    records = [record(i, annotation(LEFT, CAR)) for i in (1, 2)]
    found = [predicted([RIGHT, LEFT], [DOG, CAR], [0.9, 0.8]), predicted([RIGHT], [CAR], [0.7])]
    alone = [predicted([LEFT], [CAR], [0.8]), predicted([RIGHT], [CAR], [0.7])]
    numbers, notes = run(records, found, tmp_path, kind, annotated_classes=["car"])
    assert numbers == pytest.approx(run(records, alone, tmp_path, kind)[0], nan_ok=True)
    assert numbers[0] == numbers[3] == pytest.approx(100 * 51 / 101)  # of two cars one is found, before the error
    assert math.isnan(numbers[4])
    assert f"{NAME}: it is not annotated for dog: what is predicted of that is neither right nor wrong, and" in notes[0]


def test_objects_of_a_class_that_is_not_annotated_are_not_missed(tmp_path):
    numbers, _ = run(cars_and_dogs(), [predicted([LEFT], [CAR])] * 2, tmp_path, annotated_classes=["car"])
    assert numbers == pytest.approx([100, 100, 100, 100, math.nan], nan_ok=True)


def test_all_classes_by_name_are_what_is_meant_without_a_word(tmp_path):
    found = both_found()
    usual = run(cars_and_dogs(), found, tmp_path)
    assert usual[0][4] == pytest.approx(100)  # the false dog comes after the right one
    assert run(cars_and_dogs(), found, tmp_path, annotated_classes=THINGS, not_exhaustive_classes=[]) == usual


def test_a_class_counts_on_the_images_that_are_annotated_for_it(tmp_path):
    """As LVIS says it, image by image; the false dog of the second image comes first."""
    found = [predicted([LEFT, RIGHT], [CAR, DOG], [0.9, score]) for score in (0.5, 0.8)]
    assert run(cars_and_dogs(), found, tmp_path)[0][4] == pytest.approx(50)
    records = [record | {"neg_category_ids": []} for record in cars_and_dogs()]
    numbers, notes = run(records, found, tmp_path)
    assert numbers == pytest.approx([100] * 5)
    assert "not all of its images are annotated for dog: the others do not count" in notes[0]
    records[1]["neg_category_ids"] = [1 + DOG]  # there is none, for certain
    assert run(records, found, tmp_path)[0][4] == pytest.approx(50)


def test_what_is_predicted_beside_the_objects_of_a_class_that_is_not_exhaustive_does_not_count(tmp_path):
    found = [predicted([LEFT, RIGHT], [CAR, DOG], [0.9, score]) for score in (0.5, 0.8)]
    found[0] = predicted([LEFT, RIGHT, RIGHT], [CAR, CAR, DOG], [0.5, 0.9, 0.5])
    numbers, notes = run(cars_and_dogs(), found, tmp_path, not_exhaustive_classes=["dog"])
    assert numbers[4] == pytest.approx(100)
    assert numbers[3] == pytest.approx(run(cars_and_dogs(), found, tmp_path)[0][3])  # cars as ever
    assert numbers[3] < 100
    assert "not all objects of dog are annotated: predictions that match none do not count where that is so" in notes[0]
    missed = [predicted([LEFT], [CAR])] * 2
    assert run(cars_and_dogs(), missed, tmp_path, not_exhaustive_classes=["dog"])[0][4] == 0
    one = [
        {**record, "not_exhaustive_category_ids": ids} for record, ids in zip(cars_and_dogs(), ([], [2]), strict=True)
    ]
    assert run(one, found, tmp_path)[0][4] == pytest.approx(100)


def voc(records, outputs, **metadata):
    with registered(NAME, lambda: records, thing_classes=THINGS, **metadata):
        evaluator = VocEvaluator(NAME)
        evaluator.process(records, [{"instances": instances} for instances in outputs])
        return evaluator.evaluate()["voc"]["AP50"]


def test_voc_counts_the_same_images_and_predictions():
    found = [predicted([LEFT, RIGHT], [CAR, DOG], [0.9, score]) for score in (0.5, 0.8)]
    assert voc(cars_and_dogs(), found) == pytest.approx(75)  # 100 of cars, 50 of dogs
    assert voc(cars_and_dogs(), found, annotated_classes=["car"]) == pytest.approx(100)
    assert voc([record | {"neg_category_ids": []} for record in cars_and_dogs()], found) == pytest.approx(100)
    assert voc(cars_and_dogs(), found, not_exhaustive_classes=["dog"]) == pytest.approx(100)
    double = [predicted([LEFT, RIGHT, RIGHT], [CAR, DOG, DOG]), predicted([LEFT], [CAR])]
    assert voc(cars_and_dogs(), double, not_exhaustive_classes=["dog"]) == pytest.approx(100)


ROAD, SKY, OTHER = range(3)  # the sets' third class stands for what is not annotated
SUBSET = {"annotated_stuff_classes": ["road", "tree"], "other_class": "tree"}


def pixels(sets, name, truth, said, **metadata):
    records = sets.records(1, boxes=False, maps=True)
    from PIL import Image

    Image.fromarray(np.array(truth, np.uint8)).save(records[0]["sem_seg_file_name"])
    sets.register(name, records, **metadata)
    evaluator = semantic_evaluator(name, sets.root)
    evaluator.process(records, [{"sem_seg": torch.tensor(said)}])
    return evaluator.evaluate()["sem_seg"], evaluator.notes


TRUTH = [[ROAD, ROAD, ROAD, OTHER, OTHER, OTHER, 255]]
SAID = [[ROAD, OTHER, SKY, OTHER, SKY, ROAD, SKY]]


@pytest.mark.parametrize("convention", ["detectron2", "cityscapes"])
def test_pixels_that_may_hide_a_class_are_not_counted_against_it(sets, convention):
    metrics, notes = pixels(sets, "subset", TRUTH, SAID, semantic_convention=convention, **SUBSET)
    assert metrics["IoU-road"] == pytest.approx(100 * 1 / 4)  # of 3 and 1 more: sky on a road is wrong
    assert metrics["IoU-tree"] == pytest.approx(100 * 1 / 3)  # of 2 that count and 1 more
    assert metrics["mIoU"] == pytest.approx((100 / 4 + 100 / 3) / 2)
    assert math.isnan(metrics["IoU-sky"])
    assert metrics["pACC"] == pytest.approx(100 * 2 / 5)
    assert notes == [
        "subset: it is not annotated for sky: what is predicted of that is neither right nor wrong, and no mean has it",
        "subset: its pixels of tree may be sky: predictions of that do not count there",
    ]
    whole, notes = pixels(sets, "whole", TRUTH, SAID, semantic_convention=convention)
    assert whole["IoU-tree"] == pytest.approx(100 * 1 / 4)
    assert notes == []


def test_label_maps_of_all_classes_give_the_same_bits(sets):
    usual = pixels(sets, "usual", TRUTH, SAID)
    by_name = pixels(sets, "by_name", TRUTH, SAID, annotated_stuff_classes=STUFF, other_class="tree")
    assert str(by_name[0]) == str(usual[0])


def test_pixels_of_a_class_that_is_not_annotated_do_not_count(sets):
    metrics, _ = pixels(sets, "subset", [[ROAD, SKY, SKY]], [[ROAD, ROAD, SKY]], annotated_stuff_classes=["road"])
    assert metrics["IoU-road"] == metrics["mIoU"] == metrics["pACC"] == 100


def test_a_class_that_is_not_exhaustive_is_counted_but_for_pixels_that_may_be_of_it(sets):
    metadata = {"not_exhaustive_stuff_classes": ["sky"], "other_class": "tree"}
    metrics, _ = pixels(sets, "subset", [[SKY, ROAD, OTHER, OTHER]], [[SKY, SKY, SKY, OTHER]], **metadata)
    assert metrics["IoU-sky"] == 50
    assert metrics["IoU-tree"] == 100


def test_a_rehearsal_of_a_subset_finds_the_truth_perfect_and_its_opposite_wrong(sets):
    records = sets.records(4, masks=True, maps=True)
    metadata = {"annotated_classes": ["car"], "not_exhaustive_classes": ["car"], **SUBSET}
    cfg = sets.config(sets.register("subset", records, **metadata), tasks=("detection", "instance", "semantic"))
    notes = "\n".join(rehearsal.rehearse(cfg).warnings)
    assert "subset: it is not annotated for dog" in notes
    assert "subset: its pixels of tree may be sky" in notes
    assert "bbox has no value for APm, APl, dog: no image is labelled with any" in notes


def test_pixels_are_wrong_in_a_rehearsal_where_they_count():
    states = bytes([EXHAUSTIVE, NOT_ANNOTATED, NOT_ANNOTATED, EXHAUSTIVE])
    assert PixelSubset(*_tables(states), 3).wrong() == [3, 3, 0, 0]
    assert PixelSubset(*_tables(bytes([EXHAUSTIVE, NOT_ANNOTATED])), 0).wrong() is None


def _tables(states):
    absent = np.array([*(state == NOT_ANNOTATED for state in states), False])
    return absent, absent


@pytest.mark.parametrize(
    ("metadata", "tasks"),
    [
        ({"evaluator_type": "cityscapes", "annotated_stuff_classes": ["road"]}, ("semantic",)),
        ({"evaluator_type": "bdd100k_driving", "not_exhaustive_classes": ["car"]}, ("detection", "semantic/lane")),
    ],
    ids=["cityscapes", "driving"],
)
def test_a_tool_that_cannot_leave_classes_out_says_so_before_the_training(sets, metadata, tasks):
    pytest.importorskip("cityscapesscripts")
    records = sets.records(1, maps=True)
    records = [{**r, "sem_seg_file_name/lane": r["sem_seg_file_name"]} for r in records]
    cfg = sets.config(sets.register("subset", records, **metadata), tasks=tasks)
    with pytest.raises(DataError, match=r"subset: its metadata say that not all classes are annotated, which .*"):
        check_evaluation(cfg)


def test_so_it_does_where_single_images_say_what_they_are_annotated_for(sets):
    records = [{**r, "neg_category_ids": []} for r in sets.records(2)]
    cfg = sets.config(sets.register("subset", records, evaluator_type="bdd100k_driving"))
    with pytest.raises(DataError, match=r"subset: its records say of single images that not all classes are annotated"):
        check_evaluation(cfg)


def test_the_constant_predictor_counts_a_class_on_images_that_are_annotated_for_it(sets):
    records = sets.records(4, maps=True)
    records = [{**r, "annotations": r["annotations"][:1]} for r in records]  # a car each
    some = [{**r, "annotated_classes": bytes([NOT_ANNOTATED, EXHAUSTIVE]), "annotations": []} for r in records[2:]]
    assert ConstantObjects(records, masks=False).scores.tolist() == [1.0]
    assert ConstantObjects(records[:2] + [{**r, "annotations": []} for r in some], masks=False).scores.tolist() == [1.0]
    states = bytes([NOT_ANNOTATED, EXHAUSTIVE, EXHAUSTIVE])
    maps = [records[0], {**records[1], "annotated_stuff_classes": states}]
    usual, subset = (ConstantMap(r, LabelMapKeys(), 3, 255).frequencies for r in (records[:2], maps))
    assert torch.equal(subset[0], 2 * usual[0])
    assert torch.equal(subset[1:], usual[1:])
