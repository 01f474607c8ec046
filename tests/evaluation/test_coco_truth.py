"""What counts as an object to be found, what does not, and what is said of it."""

import logging
import math

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from object_sets import (
    HEIGHT,
    KINDS,
    WIDTH,
    annotation,
    evaluate,
    of_nothing,
    outline,
    predicted,
    record,
    registered,
)
from perfect import (
    BOXES,
    CLASSES,
    NAMES,
    changing,
    check_perfect,
    perfect,
    plain_records,
    runs_of,
)

from mtl_d2.data import DataError
from mtl_d2.evaluation.coco import coco_evaluator
from mtl_d2.evaluation.rehearsal import _quiet as quiet

FLAT = [
    {"bbox": [10, 10, -5, 8]},
    {"bbox": [10, 10, 0, 8]},
    {"bbox": [10.0, math.nan, 5, 8]},
    {"bbox": [math.nan] * 4},
    {"bbox": [10, 10, math.inf, 8]},
    {"bbox": [-math.inf, 10, 5, 8]},
    {"bbox": [None, 1, 2, 3]},
    {"bbox": [WIDTH + 3, 5, 9, 9]},
    {"bbox": [30, 20, 3, 3], "bbox_mode": BoxMode.XYXY_ABS},
    {"bbox": np.array([1, math.nan, 3, 4])},
]


@pytest.mark.parametrize("flat", FLAT, ids=repr)
def test_an_object_whose_box_has_no_area_is_left_out_as_in_training(flat, tmp_path, caplog):
    records = plain_records()
    records[0]["annotations"].append(annotation([1, 1, 5, 5], **flat))
    with caplog.at_level(logging.WARNING):
        check_perfect(records, tmp_path)


def test_what_is_left_out_is_said(tmp_path, caplog):
    records = plain_records()
    records[0]["annotations"] += [annotation([10, 10, -5, 8]), annotation([10, 10, 5, math.nan])]
    with registered("said_set", lambda: records, thing_classes=NAMES), caplog.at_level(logging.WARNING):
        perfect("said_set", records, tmp_path)
    said = [r.getMessage() for r in caplog.records if "said_set" in r.getMessage()]
    assert "said_set: 1 objects dropped: their box has no area inside the image (first in a.jpg)" in said
    assert "said_set: 1 objects dropped: their box holds NaN or an infinite number (first in a.jpg)" in said


@pytest.mark.parametrize("area", ["absent", 0, 0.0, -4, math.nan, None, "7", 1e4, np.float32(3)], ids=repr)
def test_areas_of_any_kind(area, tmp_path):
    check_perfect(plain_records(changing("area", area)), tmp_path)


def test_an_area_that_is_given_is_kept_and_others_are_of_mask_or_box(tmp_path):
    half = [[5, 5, 25, 5, 5, 25]]
    records = [
        record(
            1,
            annotation(BOXES[0], area=7),
            annotation(BOXES[0], segmentation=half),
            annotation(BOXES[0], segmentation=runs_of({"bbox": [5, 5, 10, 10]})),
            annotation(BOXES[0], segmentation="absent"),
        )
    ]
    for kinds in (KINDS, ("bbox",)):
        with registered("own_set", lambda: records, thing_classes=NAMES):
            truth = coco_evaluator("own_set", kinds, tmp_path)._truth
        assert [a["area"] for a in truth.annotations] == [7, 200, 100, 400]


@pytest.mark.parametrize("flag", [{"iscrowd": 1}, {"iscrowd": True}, {"iscrowd": "1"}, {"ignore": 1}, {"ignore": True}])
@pytest.mark.parametrize("mask", [[outline(10, 10, 50, 40)], runs_of({"bbox": [10, 10, 50, 40]}), "absent", None])
def test_what_is_found_in_a_crowd_or_ignored_region_is_not_wrong(flag, mask, tmp_path):
    records = plain_records()
    records[2]["annotations"] = [annotation([10, 10, 50, 40], segmentation=mask, **flag)]
    with registered("own_set", lambda: records, thing_classes=NAMES):
        outputs = [predicted(BOXES, CLASSES)] * 2 + [predicted([[15, 15, 20, 20], [30, 15, 20, 20]], [0, 0])]
        found = evaluate("own_set", records, outputs, tmp_path)[1]
    assert found["bbox"]["AP"] == found["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("flag", ["absent", None, False, 0.0, "0"])
def test_objects_that_are_no_crowd(flag, tmp_path):
    check_perfect(plain_records(changing("iscrowd", flag)), tmp_path)


def test_an_image_with_an_object_without_a_mask_is_left_out_of_mask_ap(tmp_path, caplog):
    records = plain_records()
    del records[0]["annotations"][1]["segmentation"]
    with registered("partly_set", lambda: records, thing_classes=NAMES), caplog.at_level(logging.WARNING):
        wrong = predicted(BOXES, [1, 0, 0])  # in that image
        found = evaluate("partly_set", records, [wrong, predicted(BOXES, CLASSES), predicted([], [])], tmp_path)[1]
    assert found["segm"]["AP"] == pytest.approx(100)
    assert found["bbox"]["AP"] < 60
    assert "partly_set: 1 of 3 images are left out of mask AP: they have an object without a mask" in caplog.text


def test_where_there_is_no_object_ap_is_nan_and_the_reason_is_said(tmp_path, caplog):
    records = [record(1, annotation(BOXES[0], iscrowd=1)), record(2)]
    with registered("empty_set", lambda: records, thing_classes=NAMES), caplog.at_level(logging.WARNING):
        found = of_nothing("empty_set", records, tmp_path)
    assert all(math.isnan(value) for kind in KINDS for value in found[kind].values())
    assert "empty_set: no image shows an object of any kind: bbox AP of it is nan" in caplog.text


def test_a_class_without_objects_is_nan_and_the_others_are_not(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = check_perfect(plain_records(), tmp_path, name="cow_set", thing_classes=["cat", "dog", "cow"])
    assert math.isnan(found["bbox"]["AP-cow"])
    assert "cow_set: no image shows an object of class cow or of size large: segm AP of it is nan" in caplog.text


@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_objects_that_reach_over_the_border_by_half_a_pixel(shift, tmp_path):
    boxes = [[0 + shift, 0 + shift, 20, 20], [WIDTH - 20 + shift, HEIGHT - 20 + shift, 20, 20]]
    records = [record(1, *map(annotation, boxes))]
    with registered("own_set", lambda: records, thing_classes=NAMES):
        found = evaluate("own_set", records, [predicted(boxes, [0, 0])], tmp_path)[1]
    assert found["bbox"]["AP"] == found["segm"]["AP"] == pytest.approx(100)


def test_objects_in_a_huge_image(tmp_path):
    boxes = [[19_000.5, 14_000.25, 9, 7], [3, 4, 15_000, 12_000]]
    records = [record(1, *[annotation(b, segmentation="absent") for b in boxes], height=15_000, width=20_000)]
    with registered("own_set", lambda: records, thing_classes=NAMES):
        found = evaluate(
            "own_set", records, [predicted(boxes, [0, 0], masks=torch.zeros(2, 1, 1))], tmp_path, ("bbox",)
        )
    assert found[1]["bbox"]["AP"] == pytest.approx(100)


def test_objects_whose_mask_has_no_pixel_are_left_out_of_mask_ap(tmp_path):
    records = plain_records()
    records[0]["annotations"].append(annotation([1, 1, 3, 3], segmentation=[[1, 1, 1, 1, 1, 1]]))
    with registered("own_set", lambda: records, thing_classes=NAMES):
        outputs = [predicted([*BOXES, [1, 1, 3, 3]], [*CLASSES, 0]), predicted(BOXES, CLASSES), predicted([], [])]
        outputs[0].pred_masks[3] = False
        outputs[0].scores[3] = 0.5
        found = evaluate("own_set", records, outputs, tmp_path)[1]
    assert found["bbox"]["AP"] == found["segm"]["AP"] == pytest.approx(100)


def test_a_polygon_that_leads_far_away_takes_no_time_and_no_memory(tmp_path):
    far = [[5, 5, 1e15, 5, 1e15, 1e15, 5, 1e15]]
    records = [record(1, annotation([5, 5, WIDTH - 5, HEIGHT - 5], segmentation=far))]
    with registered("own_set", lambda: records, thing_classes=NAMES):
        found = evaluate("own_set", records, [predicted([[5, 5, WIDTH - 5, HEIGHT - 5]], [0])], tmp_path)[1]
    assert found["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("sized", [True, False])
def test_an_object_that_reaches_far_outside_is_large(sized, tmp_path):
    far = [5, 5, 1e6, 1e6]
    records = [record(1, annotation(far, segmentation="absent"), **({} if sized else {"height": None, "width": None}))]
    with registered("own_set", lambda: records, thing_classes=NAMES):
        output = predicted([far], [0], masks=torch.zeros(1, 1, 1))
        found = evaluate("own_set", records, [output], tmp_path, ("bbox",))[1]
    assert found["bbox"]["AP"] == pytest.approx(100)


def test_metadata_without_classes_are_refused(tmp_path):
    with (
        registered("own_set", plain_records),
        pytest.raises(DataError, match="own_set: its metadata have no `thing_cl"),
    ):
        coco_evaluator("own_set", KINDS, tmp_path)


MAPPINGS = [
    {7: 0, 12: 1}, {1: 1, 2: 0}, {0: 0, 1: 1}, {5: 0, 6: 1, 9: 1}, {3: 0}, {"b": 0, "a": 1}, {1.5: 0, 1: 1},
    {"b": 0, 1: 1},
]  # fmt: skip


@pytest.mark.parametrize("mapping", MAPPINGS, ids=repr)
def test_ids_of_classes_of_any_kind(mapping, tmp_path):
    found = check_perfect(plain_records(), tmp_path, thing_dataset_id_to_contiguous_id=mapping)
    assert found["bbox"].keys() >= {"AP-cat", "AP-dog"}


def test_classes_keep_their_names_where_the_file_has_them_in_another_order(tmp_path):
    records = plain_records()
    with registered("own_set", lambda: records, thing_classes=NAMES, thing_dataset_id_to_contiguous_id={1: 1, 2: 0}):
        boxes = [b for b, c in zip(BOXES, CLASSES, strict=True) if c == 0]
        outputs = [predicted(boxes, [0])] * 2 + [predicted([], [])]
        found = evaluate("own_set", records, outputs, tmp_path)[1]
    assert (found["bbox"]["AP-cat"], found["bbox"]["AP-dog"]) == (pytest.approx(100), 0)


def test_what_is_left_out_is_said_though_a_rehearsal_came_first(tmp_path, caplog):
    records = plain_records()
    records[0]["annotations"].append(annotation([10, 10, -5, 8.5]))
    with registered("rehearsed", lambda: records, thing_classes=NAMES), caplog.at_level(logging.WARNING):
        with quiet():
            coco_evaluator("rehearsed", ("bbox",), tmp_path)
        assert not caplog.messages
        coco_evaluator("rehearsed", ("bbox",), tmp_path)
    assert "rehearsed: 1 objects dropped" in caplog.text
