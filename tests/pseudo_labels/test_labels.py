"""Which predictions become labels."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import pairwise_iou
from predictions import HEIGHT, WIDTH, objects, scores_of

from mtl_d2.pseudo_labels.thresholds import Thresholds
from mtl_d2.tasks.registry import kind_of

NAN = float("nan")


def kept(*rows, **thresholds):
    """Scores of the objects that become labels."""
    form = kind_of("detection").pseudo_labels()
    return [round(score, 4) for score in form.label(objects(*rows), Thresholds(**thresholds)).scores.tolist()]


def test_objects_need_the_score_and_no_better_one_of_their_class_over_them():
    row, over, beside = (0, 0, 4, 4), (0, 0, 4, 3), (3, 0, 7, 4)  # IoU 12 / 16 and 4 / 28
    assert kept((*row, 0.9, 0), (*over, 0.8, 0), (*beside, 0.3, 0), (5, 5, 7, 6, 0.29, 0)) == [0.9, 0.3]
    assert kept((*row, 0.9, 0), (*over, 0.8, 1)) == [0.9, 0.8]  # of another class
    assert kept((*row, 0.9, 0), (*over, 0.8, 0), nms=0.76) == [0.9, 0.8]
    assert kept((*row, 0.9, 0), (*beside, 0.8, 0), nms=0.1) == [0.9]


def test_object_below_the_score_drops_none_and_extremes_keep_all_or_nothing():
    rows = [(0, 0, 4, 4, 0.2, 0), (0, 0, 4, 3, 0.1, 0)]
    assert kept(*rows, score=0, nms=1) == [0.2, 0.1]
    assert kept(*rows, score=1) == kept() == []


def test_boxes_and_scores_that_are_no_numbers_or_without_area_are_left_out():
    rows = [(0, 0, 4, 4, NAN, 0), (NAN, 0, 4, 4, 0.9, 0), (2, 2, 2, 4, 0.9, 0), (0, 0, float("inf"), 4, 0.9, 0)]
    assert kept(*rows, (5, 5, 7, 6, 0.5, 0)) == [0.5]


def test_labels_never_overlap_more_than_the_threshold():
    torch.manual_seed(0)
    corners = torch.rand(200, 2) * torch.tensor([WIDTH, HEIGHT])
    rows = torch.cat([corners, corners + 1 + 2 * torch.rand(200, 2), torch.rand(200, 1), torch.zeros(200, 1)], 1)
    form = kind_of("detection").pseudo_labels()
    labels = form.label(objects(*rows.tolist()), Thresholds())
    overlaps = pairwise_iou(labels.pred_boxes, labels.pred_boxes).fill_diagonal_(0)
    assert len(labels) > 5
    assert overlaps.max() <= 0.2
    assert (labels.scores >= 0.3).all()


@pytest.mark.parametrize(("confidence", "sure"), [(0.0, True), (0.74, True), (0.76, False), (1.0, False)])
def test_pixels_have_their_class_where_its_probability_is_high_enough(confidence, sure, tmp_path):
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3
    form = kind_of("semantic").pseudo_labels()
    label = form.label(scores_of(ids, 0.75), Thresholds(confidence=confidence))
    assert label.dtype == np.uint8
    assert (label == (ids if sure else 255)).all()
    assert form.write(label, tmp_path, "a") == {"map": f"{tmp_path.name}/a.png", "sure": float(sure)}
    assert (cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED) == label).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_scores_of_half_precision_or_without_a_number_are_labels_where_they_say_something():
    scores = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.float16)
    scores[1] = 20
    scores[:, 0] = NAN
    label = kind_of("semantic").pseudo_labels().label(scores, Thresholds())
    assert (label[0] == 255).all()
    assert (label[1:] == 1).all()


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN, float("inf")])
@pytest.mark.parametrize("name", ["score", "nms", "confidence"])
def test_thresholds_are_shares(name, value):
    assert list(Thresholds(**{name: value}).mistakes()) == [f"--{name} must be a number from 0 to 1, got {value}"]
    assert not list(Thresholds(**{name: 0}).mistakes()) + list(Thresholds(**{name: 1}).mistakes())


def test_kinds_without_pseudo_labels_say_so():
    tasks = {"detection", "instance", "semantic/lane", "depth", "normals", "class_left"}
    assert {t for t in tasks if kind_of(t).pseudo_labels() is None} == {"depth", "normals", "class_left"}


@pytest.mark.parametrize(("task", "refused"), [("instance", 1), ("detection", 0)])
def test_masks_of_pixels_need_a_config_for_them(streets, labels, task, refused):
    labels.add(task, {streets[0]["file_name"]: objects((1, 1, 5, 4, 0.9, 1), masks=task == "instance")})
    for mask_format, lines in (("polygon", refused), ("bitmask", 0)):
        pseudo = {"PSEUDO_LABELS": {"FOLDERS": ["nowhere", str(labels.folder)]}}
        cfg = CfgNode({"MTL": pseudo, "INPUT": {"MASK_FORMAT": mask_format}})
        assert len(list(kind_of("instance").check_config(cfg))) == lines
