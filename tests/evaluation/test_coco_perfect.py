"""The truth as predictions gets 100 and nothing at all 0, in whatever form a reader gives it; or it is refused."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from object_sets import (
    HEIGHT,
    KINDS,
    WIDTH,
    evaluate,
    outline,
    predicted,
    record,
    registered,
)
from perfect import (
    BOXES,
    CLASSES,
    NAMES,
    box_of,
    changing,
    check_perfect,
    mask_of,
    plain_records,
    points_of,
    relative,
    runs_of,
    two_points_beside,
)
from pycocotools import mask as coco_mask

from mtl_d2.data import DataError
from mtl_d2.evaluation.coco import coco_evaluator

BOX_FORMS = {
    "lists": box_of,
    "tuples": lambda one: tuple(box_of(one)),
    "arrays": lambda one: np.array(box_of(one), np.float32),
    "arrays of integers": lambda one: np.array(box_of(one)),
    "arrays of a row": lambda one: np.array([box_of(one)], float),
    "tensors": lambda one: torch.tensor(box_of(one)),
    "numpy's numbers": lambda one: [np.float64(v) for v in box_of(one)],
    "tensors' numbers": lambda one: list(torch.tensor(box_of(one)).float()),
    "texts": lambda one: [str(v) for v in box_of(one)],
    "a text among numbers": lambda one: [*box_of(one)[:3], str(box_of(one)[3])],
}


@pytest.mark.parametrize("form", BOX_FORMS)
def test_boxes_of_any_form(form, tmp_path):
    check_perfect(plain_records(changing("bbox", BOX_FORMS[form])), tmp_path)


def corners(one, k):
    x, y, w, h = one["bbox"]
    one.update(bbox=[x, y, x + w, y + h], bbox_mode=BoxMode.XYXY_ABS)


def relative_sizes(one, k):
    x, y, w, h = one["bbox"]
    one.update(bbox=np.array([x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]), bbox_mode=BoxMode.XYWH_REL)


def rotated(one, k):
    x, y, w, h = one["bbox"]
    one.update(bbox=[x + w / 2, y + h / 2, float(h), float(w), 90.0], bbox_mode=BoxMode.XYWHA_ABS)


@pytest.mark.parametrize(
    "change", [corners, relative, relative_sizes, rotated, changing("bbox_mode", 1), changing("bbox_mode", np.int64(1))]
)
def test_boxes_of_any_mode(change, tmp_path):
    check_perfect(plain_records(change), tmp_path)


MASK_FORMS = {
    "arrays of numbers": lambda one: [np.array(outline(*one["bbox"]))],
    "arrays of points": lambda one: [points_of(one)],
    "points": lambda one: [points_of(one).tolist()],
    "points not in a list": lambda one: points_of(one).tolist(),
    "one polygon not in a list": lambda one: outline(*one["bbox"]),
    "an array of points": points_of,
    "OpenCV's outlines": lambda one: [points_of(one).astype(np.int32)[:, None]],
    "tuples": lambda one: (tuple(outline(*one["bbox"])),),
    "texts": lambda one: [[str(v) for v in outline(*one["bbox"])]],
    "a tensor": lambda one: torch.tensor([outline(*one["bbox"])]),
    "bool pixels": lambda one: mask_of(one).astype(bool),
    "a bool tensor": lambda one: torch.from_numpy(mask_of(one)).bool(),
    "pixels of 0 and 255": lambda one: mask_of(one).astype(np.uint8) * 255,
    "RLE": lambda one: coco_mask.encode(np.asfortranarray(mask_of(one), np.uint8)),
    "RLE as text": lambda one: {
        **coco_mask.encode(np.asfortranarray(mask_of(one), np.uint8)),
        "counts": coco_mask.encode(np.asfortranarray(mask_of(one), np.uint8))["counts"].decode(),
    },
    "RLE not compressed": runs_of,
    "RLE of arrays": lambda one: {key: np.array(value) for key, value in runs_of(one).items()},
    "polygon of two points beside": two_points_beside,
    "polygon of NaN beside": lambda one: [outline(*one["bbox"]), [math.nan] * 6],
}


@pytest.mark.parametrize("form", MASK_FORMS)
def test_masks_of_any_form(form, tmp_path):
    check_perfect(plain_records(changing("segmentation", MASK_FORMS[form])), tmp_path)
    check_perfect(plain_records(changing("segmentation", MASK_FORMS[form])), tmp_path, ("bbox",))


NO_MASKS = ("absent", None, [], {}, (), np.zeros(0))


@pytest.mark.parametrize("nothing", NO_MASKS, ids=repr)
def test_objects_without_any_mask_have_boxes(nothing, tmp_path):
    records = plain_records(changing("segmentation", nothing))
    assert check_perfect(records, tmp_path, ("bbox",))["bbox"]["AP-dog"] == pytest.approx(100)


IMAGE_IDS = {
    "texts": ["x", "y", "z"],
    "numbers as texts": ["10", "9", "8"],
    "from 0": [0, 1, 2],
    "in no order": [7, 3, 5],
    "large": [10**15, 10**15 + 1, 10**15 + 2],
    "beyond 64 bits": [2**63 + 1, -5, 2**63 + 2],
    "negative": [-1, -2, -3],
    "floats": [1.0, 2.5, 3.25],
    "mixed": [1, "1", 2.0],
    "numpy's": list(np.arange(3)),
    "numpy's texts": list(np.array(["a", "b", "c"])),
    "none": ["absent"] * 3,
    "some": [4, "absent", 5],
}


@pytest.mark.parametrize("kind", IMAGE_IDS)
def test_images_of_any_id(kind, tmp_path):
    def whole(found, i):
        changing("image_id", *IMAGE_IDS[kind])(found, i)

    check_perfect(plain_records(whole=whole), tmp_path)
    json.loads((tmp_path / "coco_instances_results.json").read_text())


def test_an_image_id_of_two_images_is_refused(tmp_path):
    records = plain_records(whole=lambda found, i: found.update(image_id=i // 2))
    with registered("own_set", lambda: records, thing_classes=NAMES), pytest.raises(DataError) as e:
        coco_evaluator("own_set", KINDS, tmp_path)
    assert "own_set: 1 of 3 images have the `image_id` of another, the first is 0: give each its own" in str(e.value)


@pytest.mark.parametrize("size", [(str(HEIGHT), str(WIDTH)), (float(HEIGHT), np.int64(WIDTH))])
def test_sizes_of_any_form(size, tmp_path):
    check_perfect(plain_records(whole=lambda found, i: found.update(height=size[0], width=size[1])), tmp_path)


@pytest.mark.parametrize("change", [None, relative, changing("segmentation", MASK_FORMS["pixels of 0 and 255"])])
def test_images_that_do_not_say_their_size_are_measured(change, tmp_path):
    from PIL import Image

    def whole(found, i):
        del found["height"], found["width"]
        found["file_name"] = str(tmp_path / f"{i}.png")
        Image.new("L", (WIDTH, HEIGHT)).save(found["file_name"])

    check_perfect(plain_records(change, whole), tmp_path)


def test_null_annotations_show_nothing(tmp_path):
    def whole(found, i):
        if not found["annotations"]:
            found["annotations"] = None

    check_perfect(plain_records(whole=whole), tmp_path)


def test_the_first_image_may_show_nothing_and_others_have_no_label(tmp_path):
    records = [record("e"), record("f", annotations="absent"), *plain_records()]
    with registered("own_set", lambda: records, thing_classes=NAMES):
        boxes = [[], BOXES[:1], BOXES, BOXES, []]  # what is seen in an image without label is neither right nor wrong
        outputs = [predicted(b, CLASSES[: len(b)]) for b in boxes]
        found = evaluate("own_set", records, outputs, tmp_path)[1]
    assert found["bbox"]["AP"] == found["segm"]["AP"] == pytest.approx(100)


WRONG = {
    "bbox of three numbers": changing("bbox", [1, 2, 3]),
    "bbox of words": changing("bbox", [["a", "b", "c", "d"]][0]),
    "bbox as one text": changing("bbox", "1 2 3 4"),
    "bbox of a number": changing("bbox", 7),
    "no bbox": changing("bbox", "absent"),
    "no bbox_mode": changing("bbox_mode", "absent"),
    "unknown bbox_mode": changing("bbox_mode", 9),
    "bbox_mode in words": changing("bbox_mode", "XYXY"),
    "category_id in words": changing("category_id", "cat"),
    "category_id null": changing("category_id", None),
    "category_id beyond": changing("category_id", 2),
    "category_id negative": changing("category_id", -1),
    "iscrowd in words": changing("iscrowd", "yes"),
    "segmentation in words": changing("segmentation", "mask.png"),
    "segmentation a number": changing("segmentation", 7),
    "RLE without counts": changing("segmentation", {"size": [HEIGHT, WIDTH]}),
    "RLE too short": changing("segmentation", {"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
    "RLE of another image": changing("segmentation", coco_mask.encode(np.ones((9, 9), np.uint8, order="F"))),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_has_no_plain_meaning_is_refused_before_anything_is_predicted(what, tmp_path):
    records = plain_records(WRONG[what])
    with registered("own_set", lambda: records, thing_classes=NAMES), pytest.raises(DataError) as e:
        coco_evaluator("own_set", KINDS, tmp_path)
    (line,) = str(e.value).splitlines()
    assert line.startswith("own_set: ")
    assert "category_id` must be" in line or "(first in a.jpg, annotation 0" in line
    assert "correct" in line or "take the annotation file" in line


@pytest.mark.parametrize("sizes", [(0, WIDTH), ("tall", WIDTH), (HEIGHT, -3), (59.5, WIDTH)])
def test_sizes_without_a_meaning_are_refused(sizes, tmp_path):
    records = plain_records(whole=lambda found, i: found.update(height=sizes[0], width=sizes[1]))
    with registered("own_set", lambda: records, thing_classes=NAMES), pytest.raises(DataError) as e:
        coco_evaluator("own_set", ("bbox",), tmp_path)
    assert "3 records have a `height` or `width` that is no whole number above 0" in str(e.value)
