"""Boxes and polygons moved all at once, against detectron2, which moves them one by one."""

import numpy as np
import pytest
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from mtl_d2.data.geometry import Geometry
from mtl_d2.data.object_geometry import transformed_boxes, transformed_masks

CHANGES = {
    "nothing": [T.NoOpTransform()],
    "resized and mirrored": [T.ResizeTransform(47, 90, 61, 83), T.HFlipTransform(83), T.VFlipTransform(61)],
    "cut": [T.CropTransform(11, 7, 60, 30), T.ResizeTransform(30, 60, 61, 83)],
    "turned": [T.RotationTransform(47, 90, 30), T.ResizeTransform(86, 101, 61, 83)],
    "padded": [T.PadTransform(1, 2, 3, 4)],
}
FLOATS = np.random.default_rng(0).uniform(0, 40, (7, 4)).tolist()
BOXES = {
    "floats": FLOATS,
    "whole numbers": [[3, 4, 20, 31], (0, 0, 7, 9)],
    "some whole": [[3, 4.5, 20, 31], [0.25, 0, 7, 9]],
    "one of whole numbers": [[3, 4, 20, 31], *FLOATS],
    "none": [],
}


def geometry(change):
    return Geometry(T.TransformList(CHANGES[change]), (47, 90), (47, 90) if change == "nothing" else (61, 83))


def one_by_one(annotations, change, key):
    given = ({k: a[k] for k in ("bbox", "bbox_mode", key)} for a in annotations)
    return [
        utils.transform_instance_annotations(one, geometry(change).transforms, geometry(change).after)[key]
        for one in given
    ]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("modes", [("XYXY_ABS",), ("XYWH_ABS",), ("XYXY_ABS", "XYWH_ABS")])
def test_boxes_are_detectron2s_to_the_last_bit(change, boxes, modes):
    annotations = [{"bbox": box, "bbox_mode": BoxMode[modes[i % len(modes)]]} for i, box in enumerate(BOXES[boxes])]
    found = transformed_boxes(annotations, geometry(change))
    assert found.shape == (len(annotations), 4)
    assert np.array_equal(found, np.reshape(one_by_one(annotations, change, "bbox"), (-1, 4)))


def test_boxes_as_arrays_are_moved_too():
    annotations = [{"bbox": np.array(box), "bbox_mode": BoxMode.XYXY_ABS} for box in FLOATS]
    listed = [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS} for box in FLOATS]
    moved = geometry("resized and mirrored")
    assert np.array_equal(transformed_boxes(annotations, moved), transformed_boxes(listed, moved))


def test_the_record_keeps_its_boxes_and_polygons():
    polygon, box = np.array(FLOATS[:3]).reshape(-1), np.array(FLOATS[0])
    annotations = [{"bbox": box.copy(), "bbox_mode": BoxMode.XYXY_ABS, "segmentation": [polygon.copy()]}]
    transformed_boxes(annotations, geometry("resized and mirrored"))
    transformed_masks(annotations, geometry("resized and mirrored"))
    assert np.array_equal(annotations[0]["bbox"], box)
    assert np.array_equal(annotations[0]["segmentation"][0], polygon)


def test_the_record_keeps_polygons_of_several_types():
    polygons = [np.array(FLOATS[:3], dtype).reshape(-1) for dtype in (np.float64, np.float32)]
    given = [polygon.copy() for polygon in polygons]
    annotations = [{"bbox": FLOATS[0], "bbox_mode": BoxMode.XYXY_ABS, "segmentation": [one]} for one in given]
    transformed_masks(annotations, geometry("resized and mirrored"))
    assert all(map(np.array_equal, given, polygons))


TRIANGLE, SQUARE = [10.5, 10.25, 60.0, 12.0, 30.0, 40.0], [20, 10, 50, 10, 50, 30, 20, 30]
MASKS = {
    "polygons": [[TRIANGLE], [[20.5, 9.0, 50.0, 10.0, 50.0, 30.0], TRIANGLE], [[1.0, 1.0, 80.0, 2.0, 40.0, 45.0]]],
    "whole numbers": [[SQUARE], [SQUARE, SQUARE]],
    "both": [[TRIANGLE], [SQUARE]],
    "arrays": [[np.array(TRIANGLE)], [np.array(TRIANGLE) / 2]],
    "RLE": [coco_mask.encode(np.asfortranarray(np.eye(47, 90, dtype=np.uint8)))] * 2,
    "polygons and RLE": [[TRIANGLE], coco_mask.encode(np.asfortranarray(np.eye(47, 90, dtype=np.uint8)))],
}


@pytest.mark.parametrize("change", ["nothing", "resized and mirrored", "cut", "turned"])
@pytest.mark.parametrize("masks", MASKS)
def test_masks_are_detectron2s_to_the_last_bit(change, masks):
    if change == "cut":
        pytest.importorskip("shapely")
    annotations = [{"bbox": FLOATS[0], "bbox_mode": BoxMode.XYXY_ABS, "segmentation": mask} for mask in MASKS[masks]]
    if change == "turned" and "RLE" in masks:
        pytest.skip("of another size than the image says: detectron2 refuses it")
    copies = [
        {**a, "segmentation": [np.array(p) for p in a["segmentation"]]}
        if isinstance(a["segmentation"], list)
        else dict(a)
        for a in annotations
    ]
    wanted = one_by_one(copies, change, "segmentation")
    found = transformed_masks(annotations, geometry(change))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert len(one) == len(other)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
