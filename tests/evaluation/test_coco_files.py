"""Files of COCO's form as people write them, read by detectron2: the truth as predictions is perfect."""

import json
import math

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import load_coco_json
from object_sets import (
    HEIGHT,
    KINDS,
    WIDTH,
    of_nothing,
    registered,
)
from perfect import (
    NAMES,
    changing,
    perfect,
    plain_records,
    runs_of,
    two_points_beside,
)

from mtl_d2.config import add_mtl_config
from mtl_d2.data.class_mapping import map_classes
from mtl_d2.evaluation.coco import coco_evaluator


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
    "polygon of two points beside": {"change": changing("segmentation", two_points_beside)},
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


def test_objects_that_the_reader_leaves_out_are_said(tmp_path, caplog):
    path = coco_file(tmp_path, **FILES["polygon of two points only"])
    with registered("less_set", lambda: load_coco_json(str(path), "", "less_set"), json_file=str(path)):
        coco_evaluator("less_set", KINDS, tmp_path)
    said = [r.getMessage() for r in caplog.records]
    assert "less_set: its json_file has 7 annotations of these images, its reader gives 6: these are evaluated" in said


def test_areas_of_the_file_are_kept(tmp_path):
    path = coco_file(tmp_path, changing("area", *(10.5 * k for k in range(1, 7))))
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        DatasetCatalog.get("own_coco")
        truth = coco_evaluator("own_coco", KINDS, tmp_path)._truth
    assert [a["area"] for a in truth.annotations] == [10.5 * k for k in range(1, 7)]


def test_areas_of_the_file_are_kept_where_its_classes_are_mapped(tmp_path, caplog):
    path = coco_file(tmp_path, changing("area", *(10.5 * k for k in range(1, 7))))
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MTL.DATA.CLASSES.THING = (), ("own_coco",), ["dog"]
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        map_classes(cfg)
        truth = coco_evaluator("own_coco", KINDS, tmp_path)._truth
        ids = [a["category_id"] for a in json.loads(path.read_bytes())["annotations"]]
    assert [a["area"] for a in truth.annotations] == [10.5 * k for k, i in enumerate(ids, 1) if i == 6]
    assert "its json_file has" not in caplog.text  # what the run does not seek is not missed


def test_a_file_whose_annotations_are_not_published_is_predicted_only(tmp_path):
    path = coco_file(tmp_path, whole=lambda content: content.pop("annotations"))
    with registered("own_coco", lambda: load_coco_json(str(path), "", "own_coco"), json_file=str(path)):
        found = perfect("own_coco", DatasetCatalog.get("own_coco"), tmp_path)
    assert found == {}
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert {(r["image_id"], r["category_id"]) for r in written} == {(i, c) for i in (1, 2) for c in (3, 6)}
