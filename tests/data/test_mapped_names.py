"""What is said of names of classes that may be meant otherwise, and lists that no run can have."""

from __future__ import annotations

import re
from typing import Any

import pytest
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mtl_d2.config import ConfigError, merge_config
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.data.class_mapping import IGNORED, ClassMap
from mtl_d2.data.reading import read_records

from .two_lists import STUFF, THINGS, classes_of, record, refused


@pytest.mark.parametrize(
    ("synonyms", "said"),
    [
        ({"boat": "rider", "rider": "person"}, "has 'rider' for 'boat', which is no class .*; did you mean 'person'"),
        ({"person": "rider"}, "has 'rider' for 'person': its own name comes first, turn them round"),
        ({"person": ["rider"]}, "must be a dict from its names to the run's, got"),
    ],
    ids=["chain", "turned", "list"],
)
def test_synonyms_that_cannot_be_followed_are_refused(two: CfgNode, synonyms: dict[str, Any], said: str) -> None:
    given = MetadataCatalog.get("cars").class_synonyms
    given.clear()
    given.update(synonyms)
    assert re.match(f"cars: `class_synonyms` in its metadata {said}", refused(two))


def test_synonyms_may_serve_other_runs_too(two: CfgNode, caplog: Any) -> None:
    MetadataCatalog.get("cars").class_synonyms |= {"boat": "ship", "lorry": "truck"}
    check_data(two)
    assert "class_synonyms" not in caplog.text
    assert classes_of("cars") == [[0, 1], [0, 1]]


def test_synonyms_of_objects_say_nothing_of_a_run_with_a_list_of_pixels_alone(
    two: CfgNode, tmp_path: Any, own_sets: Any
) -> None:
    own_sets("both", [record(tmp_path, "b", [0, 1, 2], [0, 1])], thing_classes=["car", "walker", "bus"],
             stuff_classes=["road", "other"], class_synonyms={"walker": "person"})  # fmt: skip
    two.MTL.DATA.CLASSES.THING, two.MTL.DATA.CLASSES.STUFF = (), ["other", "road"]
    two.MTL.TASKS, two.MODEL.SEM_SEG_HEAD.NUM_CLASSES = ("detection", "semantic"), 2
    two.DATASETS.TRAIN = ("both",)
    check_data(two)
    assert read_records("both")[0]["sem_seg_table"][:2] == bytes([1, 0])


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            {"thing_classes": ["boat", "Cars", "rider"]},
            "its class 'Cars' is none of MTL.DATA.CLASSES.THING and not sought, and it is not annotated for 'car'",
        ),
        (
            {"class_synonyms": {"ridder": "person"}},
            "`class_synonyms` in its metadata names 'ridder', none of its classes; did you mean 'rider'?",
        ),
        (
            {"annotated_thing_classes": ["car"]},
            "`annotated_thing_classes` in its metadata is read by nothing; is 'annotated_classes' meant?",
        ),
    ],
    ids=["plural and case", "misspelt", "another key"],
)
def test_what_is_nearly_a_name_is_warned_of(
    two: CfgNode, own_sets: Any, tmp_path: Any, caplog: Any, metadata: dict[str, Any], said: str
) -> None:
    given = {"thing_classes": ["boat", "car", "rider"], "class_synonyms": {"rider": "person"}} | metadata
    own_sets("near", [record(tmp_path, "n", [0, 1])], **given)
    own_sets("whole", [record(tmp_path, "w", [0, 1, 2])], thing_classes=THINGS)
    two.DATASETS.TRAIN = ("near", "whole")
    check_data(two)
    assert f"near: {said}" in caplog.text


def test_how_classes_are_mapped_is_said(two: CfgNode, caplog: Any) -> None:
    caplog.set_level("INFO", "mtl_d2")
    check_data(two)
    assert (
        "cars: 2 of its 3 `thing_classes` are of MTL.DATA.CLASSES.THING; 'rider' as 'person'; not sought: 'boat'; not "
        "annotated for: 'bus'"
    ) in caplog.text


def with_maps(cfg: CfgNode, records: list[dict[str, Any]], own_sets: Any, **metadata: Any) -> CfgNode:
    own_sets("maps", records, **metadata)
    cfg.MTL.TASKS, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = ("semantic",), 3
    cfg.MTL.DATA.CLASSES.STUFF = STUFF
    cfg.DATASETS.TRAIN = ("maps",)
    return cfg


def test_a_misspelt_class_of_other_pixels_is_refused_before_it_is_mapped_away(
    two: CfgNode, tmp_path: Any, own_sets: Any
) -> None:
    maps = with_maps(two, [record(tmp_path, "m", ids=[0, 1, 2])], own_sets, stuff_classes=["other", "road", "sky"],
                     other_class="othr")  # fmt: skip
    with pytest.raises(DataError, match=r"`other_class` in its metadata is 'othr', .*; did you mean 'other'"):
        check_data(maps)


def test_values_that_are_no_class_of_the_data_sets_own_are_said_to_be_so(
    two: CfgNode, tmp_path: Any, own_sets: Any
) -> None:
    maps = with_maps(two, [record(tmp_path, "m", ids=[0, 1, 7])], own_sets, stuff_classes=["other", "road"])
    with pytest.raises(DataError, match=r"m_ids\.png: holds ids that are none of the data set's own classes"):
        check_data(maps)


def test_longer_lists_than_label_maps_have_values_are_mapped_as_far_as_they_reach() -> None:
    assert list(ClassMap((0,) * 300, 1).table(None, 255)) == [0] * 255 + [IGNORED]


def test_lists_of_named_tasks_are_mapped(two: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    one = record(tmp_path, "n", ids=[0, 1, 2, 9])
    one["sem_seg_file_name/lane"] = one.pop("sem_seg_file_name")
    named = {"stuff_classes/lane": ["line", "none", "kerb"], "other_class/lane": "none", "ignore_label/lane": 9}
    own_sets("lanes", [one], class_synonyms={"line": "lane"}, **named)
    two.MTL.TASKS, two.DATASETS.TRAIN = ("semantic/lane",), ("lanes",)
    two.MODEL.SEM_SEG_HEAD.NAME, two.MODEL.SEM_SEG_HEAD.NUM_CLASSES = "SemSegMapHead", 3
    two.MTL.DATA.CLASSES["STUFF/lane"] = ["none", "lane", "arrow"]
    check_mtl_config(two)
    sample = next(iter(build_train_loader(two)))[0]
    assert sample["sem_seg/lane"].unique().tolist() == [0, 1, IGNORED]
    assert sample["annotated_stuff_classes/lane"].tolist() == [True, True, False]
    assert sample["other_class/lane"] == 0


@pytest.mark.parametrize("key", ["MTL.DATA.CLASSES.STUFF/lane", "MTL.DATA.CLASSES.THING"])
def test_lists_are_given_on_the_command_line(cfg: CfgNode, key: str) -> None:
    merge_config(cfg, "", [key, "('none', 'lane')"])
    assert cfg.MTL.DATA.CLASSES[key.rpartition(".")[2]] == ("none", "lane")


def test_more_classes_of_pixels_than_values_are_refused(two: CfgNode) -> None:
    two.MTL.TASKS, two.MODEL.SEM_SEG_HEAD.NUM_CLASSES = ("semantic",), 300
    two.MTL.DATA.CLASSES.STUFF = [f"class {i}" for i in range(300)]
    with pytest.raises(ConfigError) as e:
        check_mtl_config(two)
    assert "MTL.DATA.CLASSES.STUFF has 300 names, and label maps that are mapped have room for 254" in str(e.value)
    assert "MODEL.SEM_SEG_HEAD.NUM_CLASSES must be at most 256, as label maps have 8 bits, got 300" in str(e.value)


def test_lists_of_what_is_no_list_are_refused(two: CfgNode) -> None:
    two.MTL.DATA.CLASSES["THING/lane"] = ["a"]
    with pytest.raises(ConfigError, match=r"THING/lane is no list of a run's: they are THING, STUFF"):
        check_mtl_config(two)
