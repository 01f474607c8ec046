"""The ground truth given as predictions gets 100, and nothing at all 0, in whatever form readers and files give it."""

import copy
import json
import logging
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from object_sets import (
    HEIGHT,
    KINDS,
    WIDTH,
    annotation,
    evaluate,
    of_nothing,
    outline,
    pixels,
    predicted,
    record,
    registered,
)  # fmt: skip
from pycocotools import mask as coco_mask

from mtl_d2.data import DataError
from mtl_d2.evaluation.coco import coco_evaluator

BOXES = [[5, 5, 20, 20], [40, 10, 30, 40], [10, 35, 25, 20]]
CLASSES = [0, 1, 1]
IMAGES = ("a", "b", "c")  # the last shows nothing
NAMES = ["cat", "dog"]


def boxes_of(image):
    return BOXES if image != IMAGES[-1] else []


def plain_records(change=None, whole=None):
    """Two images of three objects each and one of none, ``change`` done to each object and ``whole`` to each image."""
    records = []
    for i, image in enumerate(IMAGES):
        objects = [annotation(b, c) for b, c in zip(boxes_of(image), CLASSES, strict=False)]
        for k, one in enumerate(objects):
            if change:
                change(one, k)
        found = record(image, *objects)
        if whole:
            whole(found, i)
        records.append(found)
    return records


def perfect(name, records, folder, kinds=KINDS):
    outputs = [predicted(boxes_of(image), CLASSES[: len(boxes_of(image))]) for image in IMAGES]
    return evaluate(name, records, outputs, folder, kinds)[1]


def check_perfect(records, folder, kinds=KINDS, name="own_set", **metadata):
    given = copy.deepcopy(records)
    with registered(name, lambda: records, **{"thing_classes": NAMES, **metadata}):
        before = MetadataCatalog.get(name).as_dict().copy()
        found = perfect(name, records, folder, kinds)
        nothing = of_nothing(name, records, folder, kinds)
        assert MetadataCatalog.get(name).as_dict() == before
    for kind in kinds:
        defined = {key: value for key, value in found[kind].items() if not math.isnan(value)}
        assert {"AP", "AP50", "AP75"} <= defined.keys()
        assert all(abs(value - 100) < 1e-9 for value in defined.values()), (kind, defined)
        assert {key: nothing[kind][key] for key in defined} == dict.fromkeys(defined, 0)
        assert nothing[kind].keys() == found[kind].keys()
    assert repr(given) == repr(records)  # nothing of the user's is written to
    return found


def changing(key, *values):
    """Gives an object a key's value, by its number; "absent" takes the key away."""

    def change(one, k):
        value = values[k % len(values)]
        one[key] = value(one) if callable(value) else value
        if isinstance(value, str) and value == "absent":
            del one[key]

    return change


def box_of(one):
    return one["bbox"]


def mask_of(one):
    return pixels([one["bbox"]])[0].numpy()


def points_of(one):
    return np.array(outline(*one["bbox"]), float).reshape(-1, 2)


def runs_of(one):
    flat = mask_of(one).ravel(order="F")
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *np.flatnonzero(np.diff(flat)) + 1, len(flat)]).tolist()}


def relative(one, k):
    x, y, w, h = one["bbox"]
    one["bbox"] = [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT]
    one["bbox_mode"] = BoxMode.XYXY_REL


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
    "polygon of two points beside": lambda one: [[1, 1, 5, 5], outline(*one["bbox"])],
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


# COCO's files, read by detectron2


def coco_file(folder, change=None, ids=None, whole=None):
    """The plain records as a file; ``change`` is done to each annotation.

    Its name is one of those in which detectron2 accepts an id of several annotations.
    """
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3 * i, "name": n} for i, n in enumerate(NAMES, 1)],
    }
    for i, found in enumerate(plain_records(), 1):
        content["images"].append({"id": i, "file_name": found["file_name"], "height": HEIGHT, "width": WIDTH})
        for one in found["annotations"]:
            del one["bbox_mode"]
            one.update(category_id=3 + 3 * one["category_id"], image_id=i, id=len(content["annotations"]) + 1)
            one.update(area=one["bbox"][2] * one["bbox"][3], iscrowd=0)
            if change:
                change(one, one["id"] - 1)
            if ids:
                one["id"] = ids(one["id"])
            content["annotations"].append(one)
    if whole:
        whole(content)
    file = folder / "minival.json"
    file.write_text(json.dumps(content))
    return file


FILES = {
    "as it should be": {},
    "ids from 0": {"ids": lambda i: i - 1},
    "negative ids": {"ids": lambda i: -i},
    "large ids": {"ids": lambda i: i + 10**15},
    "ids as texts": {"ids": str},
    "ids as floats": {"ids": lambda i: i / 2},
    "one id for all": {"ids": lambda i: 7},
    "classes of text": {
        "change": lambda one, k: one.update(category_id=f"c{one['category_id']}"),
        "whole": lambda content: [c.update(id=f"c{c['id']}") for c in content["categories"]],
    },
    "no area": {"change": changing("area", "absent")},
    "area 0": {"change": changing("area", 0)},
    "no iscrowd": {"change": changing("iscrowd", "absent")},
    "neither": {"change": lambda one, k: [one.pop(key) for key in ("area", "iscrowd")]},
    "RLE not compressed": {"change": changing("segmentation", runs_of)},
    "polygon of two points beside": {"change": changing("segmentation", MASK_FORMS["polygon of two points beside"])},
    "annotation of no image": {
        "whole": lambda content: content["annotations"].append({**content["annotations"][0], "id": 99, "image_id": 99})
    },
    "polygon of two points only": {
        "whole": lambda content: content["annotations"].append(
            {**content["annotations"][0], "id": 99, "bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 9, 9]]}
        )
    },
    "box of negative size": {
        "whole": lambda content: content["annotations"].append(
            {**content["annotations"][0], "id": 99, "bbox": [9, 9, -5, 5]}
        )
    },
    "NaN in a box": {
        "whole": lambda content: content["annotations"].append(
            {**content["annotations"][0], "id": 99, "bbox": [9, math.nan, 5, 5]}
        )
    },
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kinds", [KINDS, ("bbox",)])
def test_files_of_any_kind(file, kinds, tmp_path):
    path = coco_file(tmp_path, **FILES[file])
    before = path.read_bytes()
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        records = DatasetCatalog.get("own_coco")
        found = perfect("own_coco", records, tmp_path, kinds)
        nothing = of_nothing("own_coco", records, tmp_path, kinds)
    for kind in kinds:
        assert found[kind]["AP"] == found[kind]["AP-cat"] == found[kind]["AP-dog"] == pytest.approx(100)
        assert nothing[kind]["AP"] == nothing[kind]["AP-cat"] == nothing[kind]["AP-dog"] == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("nothing", [[], None, {}, "absent"], ids=repr)
def test_one_object_of_a_file_without_a_mask_takes_its_image_from_mask_ap(nothing, tmp_path):
    path = coco_file(tmp_path, lambda one, k: changing("segmentation", nothing)(one, k) if k == 0 else None)
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        records = DatasetCatalog.get("own_coco")
        found = perfect("own_coco", records, tmp_path)
        truth = coco_evaluator("own_coco", KINDS, tmp_path)._truth
    assert found["bbox"]["AP"] == found["segm"]["AP"] == pytest.approx(100)
    assert len(truth.api("bbox").anns) == 6
    assert {a["image_id"] for a in truth.api("segm").anns.values()} == {2}


def test_areas_of_the_file_are_kept(tmp_path):
    path = coco_file(tmp_path, changing("area", *(10.5 * k for k in range(1, 7))))
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        DatasetCatalog.get("own_coco")
        truth = coco_evaluator("own_coco", KINDS, tmp_path)._truth
    assert [a["area"] for a in truth.annotations] == [10.5 * k for k in range(1, 7)]


def test_a_file_whose_annotations_are_not_published_is_predicted_only(tmp_path):
    path = coco_file(tmp_path, whole=lambda content: content.pop("annotations"))
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        found = perfect("own_coco", DatasetCatalog.get("own_coco"), tmp_path)
    assert found == {}
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert {(r["image_id"], r["category_id"]) for r in written} == {(i, c) for i in (1, 2) for c in (3, 6)}
