"""One colour for each class name of a page."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.structures import Boxes, BoxMode, Instances
from torch import nn

from mtl_d2 import data
from mtl_d2.config import add_mtl_config
from mtl_d2.report.drawing import draw
from mtl_d2.report.page import write_report
from mtl_d2.report.palette import APART, Palette
from mtl_d2.report.pictures import write_pictures

RED, BLUE = (250, 10, 10), (10, 10, 250)
CAR = (129, 255, 128)


def test_a_name_has_the_colour_that_the_first_data_set_gives_it():
    boxes = Metadata(thing_classes=["car", "person"], thing_colors=[RED, BLUE])
    pixels = Metadata(stuff_classes=["road", "person", "car"], stuff_colors=[BLUE, (1, 2, 3), (4, 5, 6)])
    palette = Palette([pixels, boxes])  # things come before stuff, whatever the order
    assert [palette[name] for name in ("car", "person", "road")] == [RED, BLUE, BLUE]
    assert palette.in_order(["road", "person", "tree", "car"]) == ["car", "person", "road"]


@pytest.mark.parametrize(("count", "distance"), [(2, APART), (10, APART), (20, APART), (80, 15.0)])
def test_made_colours_are_distinct(count, distance):
    names = [f"class {i}" for i in range(count)]
    palette = Palette([Metadata(thing_classes=names)])
    pairs = itertools.combinations([palette[name] for name in names], 2)
    assert min(math.dist(a, b) for a, b in pairs) >= distance


def test_a_made_colour_follows_from_the_name_and_not_from_the_other_classes():
    few, many = (Palette([Metadata(thing_classes=names)]) for names in (["car"], ["bus", "tram", "car"]))
    assert few["car"] == many["car"]
    assert few["car"] == CAR  # in every process


def test_colours_that_are_none_are_made():
    wrong = [None, "red", (1, 2), (math.nan, 0, 0), (300, -5, 7.6)]
    names = ["a", "b", "c", "d", "e", "f"]
    palette = Palette([Metadata(thing_classes=names, thing_colors=wrong)])
    assert palette["e"] == (255, 0, 8)
    assert len({palette[name] for name in names}) == 6


def test_a_class_has_one_colour_in_boxes_masks_and_segmentations():
    image = np.full((60, 600, 3), 90, dtype=np.uint8)
    things = Metadata(thing_classes=["bus", "car"])
    stuff = Metadata(stuff_classes=["road", "sky", "car"], stuff_colors=[RED, BLUE, (20, 240, 20)])
    box = {"bbox": [10, 10, 200, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    mask = {**box, "segmentation": [[100, 20, 180, 20, 180, 40, 100, 40]]}
    picture = draw(image, things, stuff, [mask], np.repeat([[0] * 300 + [2] * 300], 60, axis=0)).pixels
    assert picture[30, 450].tolist() == [55, 165, 55]  # halfway from 90 to the colour
    assert picture[30, 10].tolist() == [20, 240, 20]
    assert picture[30, 150].tolist() == [95, 145, 35]  # halfway again, from the road's


class Nothing(nn.Module):
    def forward(self, batched_inputs):
        empty = Instances((40, 60), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
        empty.pred_classes = torch.zeros(0, dtype=torch.long)
        return [{"instances": empty} for _ in batched_inputs]


@pytest.fixture
def many_classes(tmp_path, monkeypatch):
    """Two test sets that name the same classes in another order; 80 classes, of which two are there."""
    names = [f"class {i}" for i in range(80)]
    listed = {"palette_a": names, "palette_b": names[::-1]}
    records = {}
    for dataset, classes in listed.items():
        path = str(tmp_path / f"{dataset}.png")
        cv2.imwrite(path, np.full((40, 60, 3), 90, dtype=np.uint8))
        box = {"bbox": [5, 5, 50, 30], "bbox_mode": BoxMode.XYXY_ABS, "category_id": classes.index("class 7")}
        broken = {**box, "bbox": [5, 5, math.nan, 30]}
        other = {**box, "category_id": classes.index("class 3")}
        annotations = [box, broken] if dataset == "palette_a" else [box, other]
        records[dataset] = [{"file_name": path, "height": 40, "width": 60, "image_id": 1, "annotations": annotations}]
        DatasetCatalog.register(dataset, lambda dataset=dataset: records[dataset])
        MetadataCatalog.get(dataset).set(thing_classes=classes)
    loader = lambda _, name: SimpleNamespace(dataset=records[name])  # noqa: E731
    monkeypatch.setattr(data, "build_test_loader", loader)
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), tuple(records)
    yield cfg, records
    for name in records:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_legend_lists_what_the_page_shows_once_and_a_broken_box_is_said(many_classes, tmp_path):
    cfg, _ = many_classes
    write_pictures(Nothing(), cfg, tmp_path, count=1)
    html = write_report(tmp_path).read_text()
    legend = html.split('class="legend">')[1].split("</div>")[0]
    assert [part.split("<")[0] for part in legend.split("</i>")[1:]] == ["class 3", "class 7"]
    assert "1 object with a box or score that is NaN or infinite" in html


def test_an_image_or_a_data_set_that_cannot_be_read_is_a_line_and_the_others_are_drawn(many_classes, tmp_path):
    cfg, records = many_classes
    records["palette_a"][0]["file_name"] = str(tmp_path / "lost.png")
    cfg.DATASETS.TEST = ("palette_a", "no_such_set", "palette_b")
    index = json.loads(write_pictures(Nothing(), cfg, tmp_path, count=1).read_text())
    assert [entry["dataset"] for entry in index["pictures"]] == ["palette_b"]
    html = write_report(tmp_path).read_text()
    assert "Not drawn: palette_a: lost.png: cannot read image" in html
    assert "Not drawn: no_such_set: all images: KeyError" in html
    assert html.count("data:image/jpeg") == 2
