"""Data sets with other lists of classes than the run's: mapped by name, or refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.config import ConfigError
from mtl_d2.config_check import check_mtl_config
from mtl_d2.data import DataError, build_train_loader, check_data
from mtl_d2.data.annotated_classes import EXHAUSTIVE, NOT_ANNOTATED, NOT_EXHAUSTIVE
from mtl_d2.data.checks.partial_classes import wrong_other_class
from mtl_d2.data.class_mapping import IGNORED, NO_CLASS, ClassMap, class_map, map_classes
from mtl_d2.data.reading import read_records

from .two_lists import STUFF, THINGS, classes_of, record, refused


def test_annotations_are_mapped_by_name_and_others_are_background(two: CfgNode) -> None:
    check_data(two)
    assert classes_of("cars") == [[0, 1], [0, 1]]  # boats are gone
    assert classes_of("walkers") == [[1, 2], [1, 2]]


def test_what_a_data_set_lacks_it_is_not_annotated_for(two: CfgNode) -> None:
    samples = {s["file_name"][-6:-5]: s for batch in [next(iter(build_train_loader(two)))] for s in batch}
    assert samples["c"]["annotated_classes"].tolist() == [True, True, False]
    assert samples["w"]["annotated_classes"].tolist() == [False, True, False]  # of buses, some
    metadata = MetadataCatalog.get("walkers")
    assert metadata.thing_classes == THINGS
    assert (metadata.annotated_classes, metadata.not_exhaustive_classes) == (["person"], ["bus"])
    assert MetadataCatalog.get("cars").get("thing_colors") is None  # they went with its own list


def test_data_sets_are_mapped_once_and_are_their_own_again_without_the_list(two: CfgNode) -> None:
    own = DatasetCatalog["cars"]
    map_classes(two)
    mapped = DatasetCatalog["cars"]
    map_classes(two)
    assert DatasetCatalog["cars"] is mapped
    two.MTL.DATA.CLASSES.THING = ()
    map_classes(two)
    assert DatasetCatalog["cars"] is own
    assert MetadataCatalog.get("cars").thing_classes == ["boat", "car", "rider"]
    assert classes_of("cars") == [[0, 1, 2, 0]] * 2


def test_a_data_set_with_the_runs_list_is_left_as_it_is(two: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    records = [record(tmp_path, "s", [2])]
    own_sets("same", records, thing_classes=THINGS, evaluator_type="coco")
    two.DATASETS.TRAIN = ("same",)
    map_classes(two)
    assert read_records("same")[0]["annotations"] is records[0]["annotations"]
    assert MetadataCatalog.get("same").evaluator_type == "coco"
    assert "annotated_classes" not in next(iter(build_train_loader(two)))[0]


def test_a_reader_that_completes_its_own_metadata_is_mapped_after_it(
    two: CfgNode, tmp_path: Any, own_sets: Any
) -> None:
    def read() -> list[dict[str, Any]]:
        MetadataCatalog.get("late").thing_classes = ["bus", "car"]
        return [record(tmp_path, "l", [0])]

    own_sets("late", read)
    two.DATASETS.TRAIN = ("late",)
    map_classes(two)
    for _ in range(2):
        assert classes_of("late") == [[2]]
        assert MetadataCatalog.get("late").thing_classes == THINGS
    assert MetadataCatalog.get("late").annotated_classes == ["car", "bus"]


def test_what_an_image_says_of_itself_is_mapped(two: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    one = record(tmp_path, "i", [1]) | {"neg_category_ids": [3], "not_exhaustive_category_ids": []}
    own_sets("lvis", [one], thing_classes=["boat", "car", "bus"])
    two.DATASETS.TRAIN = ("lvis",)
    (sample,) = next(iter(build_train_loader(two)))[:1]
    assert sample["annotated_classes"].tolist() == [True, False, True]


def test_states_of_what_is_put_together_are_exhaustive_if_all_are() -> None:
    mapping = class_map(["rider", "walker", "car", "boat"], THINGS, {"rider": "person", "walker": "person"})
    assert mapping is not None
    assert mapping.ids == (1, 1, 0, -1)
    assert list(mapping.states(bytes([EXHAUSTIVE] * 4))) == [EXHAUSTIVE, EXHAUSTIVE, NOT_ANNOTATED]
    assert list(mapping.states(bytes([NOT_ANNOTATED, *[EXHAUSTIVE] * 3]))) == [
        EXHAUSTIVE,
        NOT_EXHAUSTIVE,
        NOT_ANNOTATED,
    ]


def test_a_table_maps_stored_values_to_the_runs_classes() -> None:
    mapping = ClassMap((2, -1, 0), 3)
    plain = mapping.table(None, 19)
    assert list(plain[:4]) == [2, IGNORED, 0, NO_CLASS]
    assert plain[19] == IGNORED
    own = bytes([19, 2, 0]) + bytes([19]) * 253
    assert list(mapping.table(own, 19)[:4]) == [IGNORED, 0, 2, IGNORED]


def test_label_maps_are_mapped_and_may_hide_what_is_not_annotated(two: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    own_sets("maps", [record(tmp_path, "m", ids=[0, 1, 2, 9])], stuff_classes=["background", "sky", "road"],
             ignore_label=9, other_class="background", class_synonyms={"background": "other"})  # fmt: skip
    two.MTL.TASKS, two.MODEL.SEM_SEG_HEAD.NUM_CLASSES = ("semantic",), 3
    two.MTL.DATA.CLASSES.STUFF = STUFF
    two.DATASETS.TRAIN = ("maps",)
    (sample,) = next(iter(build_train_loader(two)))[:1]
    assert set(sample["sem_seg"].unique().tolist()) <= {0, 1, IGNORED}
    assert sample["annotated_stuff_classes"].tolist() == [True, True, False]
    assert sample["other_class"] == 0
    two.MTL.DATA.CLASSES.STUFF = ()
    map_classes(two)


def test_other_lists_are_refused_without_the_key_which_is_named(two: CfgNode) -> None:
    two.MTL.DATA.CLASSES.THING = ()
    MetadataCatalog.get("cars").thing_classes.append("bus")
    with pytest.raises(DataError, match=r"by MTL\.DATA\.CLASSES\.THING, or in their readers"):
        check_data(two)


def test_a_class_that_no_training_set_annotates_is_refused(two: CfgNode) -> None:
    two.MTL.DATA.CLASSES.THING, two.MODEL.FCOS.NUM_CLASSES = [*THINGS, "tram"], 4
    line = refused(two)
    assert line.startswith("no training set (cars, walkers) is annotated for 'tram', which 'detection' is to learn: ")


def test_a_class_that_is_nowhere_annotated_exhaustively_is_warned_of(two: CfgNode, caplog: Any) -> None:
    check_data(two)
    assert (
        "no training set is annotated exhaustively for 'bus': nothing teaches 'detection' what it is not" in caplog.text
    )
    assert "has no object of class" not in caplog.text  # cars are no background where nobody has looked for them


def test_a_synonym_for_no_class_is_refused(two: CfgNode) -> None:
    MetadataCatalog.get("cars").class_synonyms["boat"] = "buss"
    assert refused(two).startswith(
        "cars: `class_synonyms` in its metadata has 'buss' for 'boat', which is no class of "
    )


def test_a_data_set_without_any_class_of_the_run_is_refused(two: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    own_sets("zoo", [record(tmp_path, "z", [0])], thing_classes=["zebra"])
    two.DATASETS.TRAIN = ("cars", "walkers", "zoo")
    assert refused(two).startswith(
        "zoo: none of its `thing_classes` ['zebra'] is one of MTL.DATA.CLASSES.THING ['car', "
    )


def test_annotations_of_what_is_said_not_to_be_annotated_are_refused(
    two: CfgNode, tmp_path: Any, own_sets: Any
) -> None:
    own_sets("odd", [record(tmp_path, f"o{i}", [0, 1, 2]) for i in range(3)], thing_classes=THINGS,
             annotated_classes=["car", "bus"])  # fmt: skip
    two.DATASETS.TRAIN = ("cars", "walkers", "odd")
    line = refused(two)
    assert line.startswith(
        "odd: 3 of its annotations are of classes that `annotated_classes` in its metadata leaves out"
    )
    assert "o0.png: a 'person'" in line


def test_a_misspelt_annotated_class_is_refused(two: CfgNode, tmp_path: Any, own_sets: Any) -> None:
    own_sets("typo", [record(tmp_path, "t", [0])], thing_classes=THINGS, annotated_classes=["cars"])
    two.DATASETS.TRAIN = ("cars", "walkers", "typo")
    assert (
        "`annotated_classes` in its metadata has 'cars', which is none of its `thing_classes`; did you mean 'car'?"
        in (refused(two))
    )


@pytest.mark.parametrize(
    ("other", "smoothing", "said"),
    [
        ("backgroud", 0.0, "`other_class` in its metadata is 'backgroud', .*; did you mean 'background'"),
        ("background", 0.1, "MODEL.SEM_SEG_HEAD.LABEL_SMOOTHING 0.1 is not defined: set it to 0.0"),
    ],
    ids=["unknown", "smoothing"],
)
def test_other_classes_that_no_loss_can_have_are_refused(other: str, smoothing: float, said: str) -> None:
    metadata = Metadata(
        name="maps", stuff_classes=["background", "road"], annotated_stuff_classes=["background"], other_class=other
    )
    (line,) = wrong_other_class(metadata, "stuff_classes", "MODEL.SEM_SEG_HEAD.LABEL_SMOOTHING", smoothing)
    assert re.search(said, line)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["car", "bus"], "MODEL.FCOS.NUM_CLASSES is 3, but MTL.DATA.CLASSES.THING has 2 names: set it to 2"),
        (["car", "bus", "car"], "MTL.DATA.CLASSES.THING has 'car' twice"),
        (["car", 3, "bus"], "MTL.DATA.CLASSES.THING must be a list of names, got ['car', 3, 'bus']"),
    ],
    ids=["length", "twice", "number"],
)
def test_lists_that_no_head_can_have_are_refused(two: CfgNode, names: list[Any], said: str) -> None:
    two.MTL.DATA.CLASSES.THING = names
    with pytest.raises(ConfigError) as e:
        check_mtl_config(two)
    assert said in str(e.value)
    two.MTL.DATA.CLASSES.THING = ()
