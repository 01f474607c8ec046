"""Data sets as other tools export them: what is meant is taken, what would be silently wrong is refused."""

import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from own_sets import H, W
from pycocotools import mask as coco_mask

from mtl_d2.data import DataError, check_data
from mtl_d2.data.annotations import clean_annotations
from mtl_d2.evaluation.build import build_evaluator
from mtl_d2.evaluation.rehearsal import rehearse

CATEGORIES = ({"id": 1, "name": "car"}, {"id": 2, "name": "dog"})


def coco_file(sets, name, change=lambda content: None, categories=CATEGORIES):
    """Three images, as a COCO file has them; ``change`` makes it odd."""
    records = sets.records(3, masks=True)
    content = {
        "images": [
            {"id": r["image_id"], "file_name": f"{i}.png", "height": H, "width": W} for i, r in enumerate(records)
        ],
        "annotations": [
            {"image_id": r["image_id"], "bbox": a["bbox"], "segmentation": a["segmentation"], "iscrowd": 0, "area": 120}
            | {"category_id": categories[a["category_id"]]["id"]}
            for r in records
            for a in r["annotations"]
        ],
        "categories": list(categories),
    }
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number
    change(content)
    path = sets.root / f"{name}.json"
    path.write_text(json.dumps(content))
    register_coco_instances(name, {}, str(path), str(sets.root))
    sets.names.append(name)
    return name


def refusal(cfg):
    with pytest.raises(DataError) as refused:
        check_data(cfg)
    return str(refused.value)


def changed(records, **values):
    """The records with these keys in each annotation; a function is given the annotation."""
    for record in records:
        record["annotations"] = [
            {**a, **{key: value(a) if callable(value) else value for key, value in values.items()}}
            for a in record["annotations"]
        ]
    return records


@pytest.mark.parametrize("tasks", [("detection",), ("detection", "instance")])
def test_keypoints_beside_boxes_and_masks_are_passed_over(sets, tasks):
    def add(content):
        for a in content["annotations"]:
            a |= {"keypoints": [5, 6, 2] * 17, "num_keypoints": 17}

    cfg = sets.config(coco_file(sets, "keypoints", add), tasks=tasks)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    check_data(cfg)
    rehearse(cfg)


def test_classes_of_one_name_are_evaluated_each(sets, tmp_path):
    name = coco_file(sets, "same_name", categories=({"id": 0, "name": "fish"}, {"id": 1, "name": "fish"}))
    rehearse(sets.config(name))
    maps = sets.register("same_stuff", sets.records(boxes=False, maps=True), stuff_classes=["road", "road", "sky"])
    cfg = sets.config(maps, tasks=("semantic",))
    rehearse(cfg)
    names = build_evaluator(cfg, maps, str(tmp_path)).evaluate()["sem_seg"]
    assert {"IoU-road (0)", "IoU-road (1)", "IoU-sky"} <= names.keys()


@pytest.mark.parametrize("mode", [BoxMode.XYXY_ABS, BoxMode.XYWH_ABS])
def test_relative_boxes_that_are_said_to_be_in_pixels_are_refused(sets, mode):
    records = changed(sets.records(), bbox=lambda a: [0.25, 0.1, 0.5, 0.4], bbox_mode=mode)
    assert "6 boxes, which are all, lie in the first pixel of their image" in refusal(
        sets.config(sets.register("relative", records))
    )


def test_a_small_box_in_the_corner_beside_others_is_an_object(sets):
    records = sets.records()
    records[0]["annotations"][0]["bbox"] = [0, 0, 1, 1]
    check_data(sets.config(sets.register("corner", records)))


def test_images_of_one_id_in_a_coco_file_are_refused(sets):
    def share(content):
        content["images"][2]["id"] = content["images"][0]["id"]

    assert "1 ids that several images share, the first is 10, of 0.png and 2.png" in refusal(
        sets.config(coco_file(sets, "shared", share))
    )


def test_what_is_left_out_of_a_test_set_is_said_before_and_once(sets, caplog):
    records = sets.records(masks=True)
    records[0]["annotations"].append({**records[0]["annotations"][0], "bbox": [5, 5, 0, 3]})
    cfg = sets.config(sets.register("dropped", records), tasks=("detection", "instance"))
    with caplog.at_level(logging.WARNING):
        notes = rehearse(cfg)
        assert "objects dropped" not in caplog.text
        notes.log()
        build_evaluator(cfg, "dropped", str(sets.root / "out"))
    assert caplog.text.count("dropped: 1 objects dropped: their box has no area") == 1


def test_what_an_evaluator_leaves_out_is_said_where_no_log_was_at_its_rehearsal(sets, caplog):
    records = sets.records(masks=True)
    del records[0]["annotations"][0]["segmentation"]
    cfg = sets.config(sets.register("bare", records), tasks=("detection", "instance"))
    rehearse(cfg)
    with caplog.at_level(logging.WARNING):
        build_evaluator(cfg, "bare", str(sets.root / "out"))
    assert "1 of 3 images are left out of mask AP" in caplog.text


def test_ids_that_a_loaders_copy_does_not_have_are_refused(sets):
    records = [{**r, "image_id": torch.tensor(r["image_id"])} for r in sets.records()]
    assert "`image_id` must be a number or a text, found tensor(10)" in refusal(
        sets.config(sets.register("tensors", records))
    )


@pytest.mark.parametrize("annotations", [7, {"a": 1}, np.array([{}, {}])])
def test_annotations_that_are_no_list_are_refused_with_their_record(sets, annotations):
    records = sets.records()
    records[1]["annotations"] = annotations
    line = refusal(sets.config(sets.register("no_list", records)))
    assert line.startswith(
        f"no_list: 1 of 3 records have `annotations` that are no list, the first is of {sets.root}/1"
    )


def test_ignored_id_of_numpy_is_a_number(sets):
    name = sets.register("numpy", sets.records(boxes=False, maps=True), ignore_label=np.int64(255))
    cfg = sets.config(name, tasks=("semantic",))
    check_data(cfg)
    rehearse(cfg)


def test_wrong_number_of_classes_is_said_once_of_two_tasks(sets):
    cfg = sets.config(sets.register("three", sets.records(masks=True)), tasks=("detection", "instance"))
    cfg.MODEL.FCOS.NUM_CLASSES = 3
    assert refusal(cfg).startswith("three: it has 2 `thing_classes`")


@pytest.mark.parametrize(
    "point",
    [lambda x, y: (x / W, y / H), lambda x, y: (x + 500, y), lambda x, y: (y + 20, x - 4)],
    ids=["relative", "outside", "y before x"],
)
def test_masks_that_lie_elsewhere_than_their_boxes_are_refused(sets, point):
    def moved(annotation):
        (polygon,) = annotation["segmentation"]
        return [[v for x, y in zip(polygon[::2], polygon[1::2], strict=True) for v in point(x, y)]]

    name = sets.register("elsewhere", changed(sets.records(masks=True), segmentation=moved))
    cfg = sets.config(name, tasks=("detection", "instance"))
    assert "masks, most of those looked at, lie elsewhere than their boxes" in refusal(cfg)


def test_one_mask_that_lies_elsewhere_is_taken_as_it_is(sets):
    records = sets.records(masks=True)
    records[0]["annotations"][0]["segmentation"] = [[40, 30, 50, 30, 50, 40]]
    check_data(sets.config(sets.register("one", records), tasks=("detection", "instance")))


@pytest.mark.parametrize("form", [np.ndarray.tolist, lambda m: m.astype(bool).tolist(), lambda m: m.astype(float)])
def test_pixels_of_a_mask_are_not_taken_for_polygons(sets, form):
    def drawn(annotation):
        x, y, w, h = annotation["bbox"]
        mask = np.zeros((H, W), np.uint8)
        mask[y : y + h, x : x + w] = 1
        return form(mask)

    (cleaned,) = clean_annotations(changed(sets.records(1, masks=True), segmentation=drawn), True, "bitmask").records
    assert coco_mask.area(cleaned["annotations"][0]["segmentation"]) == 120


@pytest.mark.parametrize(("value", "message"), [(0, "the id of one of the 3 classes"), (-1, r"in 0\.\.255"), (300, "")])
def test_ignored_id_of_the_samples_that_a_class_has_or_none_can_have_is_refused(sets, value, message):
    cfg = sets.config(sets.register("maps", sets.records(boxes=False, maps=True)), tasks=("semantic",))
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = value
    with pytest.raises(DataError, match=f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE .*{message}"):
        check_data(cfg)
