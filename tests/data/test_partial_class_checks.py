"""What is refused, and what is warned of, where data sets or single images are annotated for some classes."""

from __future__ import annotations

from typing import Any

import pytest
from detectron2.config import CfgNode

from mtl_d2.data import DataError, check_data

from .two_lists import THINGS, record

CAR, PERSON, BUS = (i + 1 for i in range(3))  # ids in a file


@pytest.fixture
def boxes(cfg: CfgNode) -> CfgNode:
    cfg.MTL.TASKS, cfg.MODEL.FCOS.NUM_CLASSES = ("detection",), 3
    cfg.DATASETS.TEST = ()
    return cfg


def said(cfg: CfgNode, caplog: Any, *names: str) -> list[str]:
    cfg.DATASETS.TRAIN = names
    check_data(cfg)
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


def lvis(folder: Any, name: str, shown: list[int], absent: list[int], partly: list[int] | None = None) -> Any:
    """An image of a federated data set."""
    return record(folder, name, shown) | {"neg_category_ids": absent, "not_exhaustive_category_ids": partly or []}


def test_nothing_is_background_in_images_that_say_themselves_what_they_are_annotated_for(
    boxes: CfgNode, tmp_path: Any, own_sets: Any, caplog: Any
) -> None:
    own_sets("federated", [lvis(tmp_path, "a", [0], [PERSON]), lvis(tmp_path, "b", [1], [])], thing_classes=THINGS)
    own_sets("whole", [record(tmp_path, "w", [0, 1, 2])], thing_classes=THINGS)
    assert said(boxes, caplog, "federated", "whole") == []


def test_classes_that_no_image_is_annotated_for_are_warned_of(
    boxes: CfgNode, tmp_path: Any, own_sets: Any, caplog: Any
) -> None:
    own_sets("federated", [lvis(tmp_path, "a", [0], [], [CAR]), lvis(tmp_path, "b", [2], [])], thing_classes=THINGS)
    lines = said(boxes, caplog, "federated")
    assert len(lines) == 2
    assert lines[0].startswith("federated: no image of the training sets is annotated for 'person': none shows it")
    assert lines[1].startswith("federated: no training set is annotated exhaustively for 'car': nothing teaches ")


def test_images_that_show_what_they_say_is_absent_are_counted(
    boxes: CfgNode, tmp_path: Any, own_sets: Any, caplog: Any
) -> None:
    own_sets("odd", [lvis(tmp_path, "a", [0, 2], [BUS, PERSON]), record(tmp_path, "w", [1])], thing_classes=THINGS)
    (line,) = said(boxes, caplog, "odd")
    assert line.startswith(
        "odd: 1 images have an annotation of a class that their `neg_category_ids` says is not there"
    )
    assert "a.png: 'bus'; look" in line


def test_ids_that_are_no_list_are_refused_with_the_file(boxes: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    own_sets("odd", [record(tmp_path, "a", [0]) | {"neg_category_ids": 2}], thing_classes=THINGS)
    boxes.DATASETS.TRAIN = ("odd",)
    with pytest.raises(DataError, match=r"a\.png: `neg_category_ids` must be a list of ids of classes, got 2"):
        check_data(boxes)


def test_a_mistake_of_one_data_set_does_not_hide_those_of_others(boxes: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    own_sets("typo", [record(tmp_path, "a", [0])], thing_classes=THINGS, annotated_classes=["cars"])
    own_sets("beyond", [record(tmp_path, "b", [3])], thing_classes=THINGS)
    boxes.DATASETS.TRAIN = ("typo", "beyond")
    with pytest.raises(DataError) as e:
        check_data(boxes)
    assert [line.partition(":")[0] for line in str(e.value).splitlines()] == ["typo", "beyond"]


@pytest.mark.parametrize(
    ("negatives", "annotated", "warned"),
    [("ignore", ["car"], True), ("ignore", THINGS, False), ("background", ["car"], False)],
    ids=["nothing", "whole images", "background"],
)
def test_an_rpn_without_any_background_is_warned_of(
    boxes: CfgNode, tmp_path: Any, own_sets: Any, caplog: Any, negatives: str, annotated: list[str], warned: bool
) -> None:
    boxes.MODEL.RPN.PARTIAL_NEGATIVES = negatives
    own_sets("first", [record(tmp_path, "a", [0])], thing_classes=THINGS, annotated_classes=annotated)
    own_sets("second", [record(tmp_path, "b", [1, 2])], thing_classes=THINGS, annotated_classes=["person", "bus"])
    assert any(
        "MODEL.RPN.PARTIAL_NEGATIVES is 'ignore'" in line for line in said(boxes, caplog, "first", "second")
    ) is (warned)


def maps(cfg: CfgNode, folder: Any, own_sets: Any, ids: list[int], **metadata: Any) -> None:
    cfg.MTL.TASKS, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = ("semantic",), 3
    own_sets("subset", [record(folder, "s", ids=ids)], stuff_classes=["other", "road", "sky"], **metadata)
    own_sets("all", [record(folder, "w", ids=[0, 1, 2])], stuff_classes=["other", "road", "sky"])


def test_pixels_of_what_is_said_not_to_be_annotated_are_refused(boxes: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    maps(boxes, tmp_path, own_sets, [0, 1, 2], annotated_stuff_classes=["other", "road"], other_class="other")
    boxes.DATASETS.TRAIN = ("subset", "all")
    with pytest.raises(DataError, match=r"^subset: 1 of its 1 label maps hold pixels of classes .*s_ids\.png: 'sky'"):
        check_data(boxes)


@pytest.mark.parametrize("annotated", [["other", "road"], ["road"]], ids=["other too", "road alone"])
def test_classes_of_pixels_that_are_not_annotated_are_not_missed(
    boxes: CfgNode, tmp_path: Any, own_sets: Any, caplog: Any, annotated: list[str]
) -> None:
    maps(boxes, tmp_path, own_sets, [0, 1], annotated_stuff_classes=annotated, other_class="other")
    assert said(boxes, caplog, "subset", "all") == []
