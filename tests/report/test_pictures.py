from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from mtl_d2.report import gallery
from mtl_d2.report.drawing import draw as draw_picture
from mtl_d2.report.page import write_report
from mtl_d2.report.pictures import write_pictures

RED, BLUE = (250, 10, 10), (10, 10, 250)
H, W = 96, 160


def metadata() -> Metadata:
    return Metadata(thing_classes=["car", "person"], thing_colors=[RED, BLUE], stuff_classes=["road", "sky"])


def instances(*boxes: list[float], scores: list[float], classes: list[int]) -> Instances:
    return Instances(
        (H, W),
        pred_boxes=Boxes(torch.tensor(boxes)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes),
    )


def draw(*args: Any, **options: Any) -> np.ndarray:
    return draw_picture(*args, **options).pixels


def near(picture: np.ndarray, x: int, y: int, color: tuple[int, int, int]) -> bool:
    """Whether a pixel within 1 of (x, y) has the colour."""
    patch = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).astype(int)
    return bool((abs(patch - color).max(axis=1) < 12).any())


def test_frames_stand_where_the_boxes_are():
    image = np.full((H, W, 3), 90, dtype=np.uint8)
    found = instances([30.0, 40, 90, 80], scores=[0.9], classes=[1])
    picture = draw(image, metadata(), metadata(), found)
    assert picture.shape == (2 * H, 2 * W, 3)
    assert picture.dtype == np.uint8
    for x, y in ((60, 130), (180, 130), (120, 80), (120, 160)):  # the middles of its sides, doubled
        assert near(picture, x, y, BLUE)
    assert (picture[120:150, 80:170] == 90).all()
    assert (image == 90).all()


def test_large_image_whose_channels_are_a_reversed_view_is_drawn_on_a_copy():
    stored = np.full((H, 600, 3), 90, dtype=np.uint8)
    picture = draw(stored[:, :, ::-1], metadata(), metadata(), instances([30.0, 40, 90, 80], scores=[0.9], classes=[1]))
    assert near(picture, 30, 60, BLUE)
    assert (stored == 90).all()


@pytest.mark.parametrize(("color", "rim"), [((0, 0, 70), 240), ((250, 170, 30), 16)])
def test_frames_stand_out_from_their_rim(color, rim):
    image = np.full((H, 600, 3), 90, dtype=np.uint8)
    annotation = {"bbox": [30, 40, 90, 80], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    picture = draw(image, Metadata(thing_classes=["car"], thing_colors=[color]), metadata(), [annotation])
    assert near(picture, 60, 80, color)
    assert (picture[76:85, 60] == rim).all(axis=1).any()


def test_annotations_are_drawn_like_predictions():
    image = np.full((H, 600, 3), 90, dtype=np.uint8)
    annotation = {"bbox": [30, 40, 60, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    picture = draw(image, metadata(), metadata(), [annotation])
    assert picture.shape == image.shape
    for x, y in ((30, 60), (90, 60), (60, 40), (60, 80)):
        assert near(picture, x, y, RED)


def test_masks_are_filled_with_the_colour_of_their_class():
    image = np.full((H, 600, 3), 90, dtype=np.uint8)
    found = instances([30.0, 40, 90, 80], [100.0, 40, 160, 80], scores=[0.9, 0.8], classes=[1, 0])
    found.pred_masks = torch.zeros(2, H, 600, dtype=torch.bool)
    found.pred_masks[0, 50:70, 40:80] = True
    found.pred_masks[1, 50:70, 60:150] = True
    box = {"bbox": [30, 40, 90, 80], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    annotation = box | {"segmentation": [[40, 50, 80, 50, 80, 70, 40, 70]]}
    unfit = box | {"segmentation": {"size": [2, 2], "counts": "04"}}, box | {"segmentation": [[1, 1, 5, 5]]}
    for shown in (found, [annotation, box, *unfit]):
        picture = draw(image, metadata(), metadata(), shown)
        assert (picture[60, 70] == [50, 50, 170]).all()  # halfway from 90 to blue; the better of two masks is on top
        assert (picture[45, 70] == 90).all()
    assert (draw(image, metadata(), metadata(), found)[60, 120] == [170, 50, 50]).all()


def test_segmentation_colours_classes_and_leaves_ignored_pixels_clear():
    image = np.full((H, 600, 3), 100, dtype=np.uint8)
    ids = np.full((H, 600), 255)
    ids[:, :200] = 0
    ids[:, 200:400] = 1
    colored = Metadata(stuff_classes=["road", "sky"], stuff_colors=[(200, 0, 0), (0, 0, 200)])
    picture = draw(image, metadata(), colored, sem_seg=ids)
    assert picture[50, [100, 300, 500]].tolist() == [[150, 50, 50], [50, 50, 150], [100, 100, 100]]


def test_ignored_label_of_the_catalog_is_left_clear():
    image = np.full((H, 600, 3), 100, dtype=np.uint8)
    colored = Metadata(stuff_classes=["void", "road"], stuff_colors=[(200, 0, 0), (0, 0, 200)], ignore_label=0)
    picture = draw(image, metadata(), colored, sem_seg=np.zeros((H, 600), dtype=int))
    np.testing.assert_array_equal(picture, image)


@pytest.mark.parametrize("nothing", [None, []])
def test_nothing_to_draw_leaves_the_image(nothing):
    image = np.random.default_rng(0).integers(0, 255, (H, 600, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw(image, metadata(), metadata(), nothing), image)


class Fixed(nn.Module):
    """Always finds one sure and one unsure box, and road everywhere."""

    def __init__(self, outputs: tuple[str, ...] = ("instances", "sem_seg")) -> None:
        super().__init__()
        self.outputs = outputs
        self.frozen = nn.BatchNorm2d(3).eval()
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Any]]:
        self.modes.append((self.training, torch.is_grad_enabled()))
        boxes = instances([30.0, 40, 90, 80], [100.0, 20, 150, 90], scores=[0.9, 0.2], classes=[0, 1])
        made = {"instances": boxes, "sem_seg": torch.zeros(2, H, W)}
        return [{key: made[key] for key in self.outputs} for _ in batched_inputs]


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two test sets of ten images, one with boxes and one with segmentation labels."""
    records: dict[str, list[dict]] = {"report_det": [], "report_seg": []}
    for i in range(10):
        for name, made in records.items():
            path = str(tmp_path / f"{name}_{i:02d}.png")
            cv2.imwrite(path, np.full((H, W, 3), 90, dtype=np.uint8))
            made.append({"file_name": path, "height": H, "width": W, "image_id": i})
        records["report_det"][-1]["annotations"] = [
            {"bbox": [30, 40, 90, 80], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0}
        ]
        labels = str(tmp_path / f"labels_{i}.png")
        cv2.imwrite(labels, np.zeros((H, W), dtype=np.uint8))
        records["report_seg"][-1]["sem_seg_file_name"] = labels
    for name, made in records.items():
        DatasetCatalog.register(name, lambda made=made: made)
    MetadataCatalog.get("report_det").set(thing_classes=["car", "person"], thing_colors=[RED, BLUE])
    MetadataCatalog.get("report_seg").set(stuff_classes=["road", "sky"])
    loader = lambda _, name: SimpleNamespace(dataset=records[name])  # noqa: E731
    monkeypatch.setattr(data, "build_test_loader", loader)
    made_cfg = get_cfg()
    add_mtl_config(made_cfg)
    made_cfg.DATASETS.TRAIN, made_cfg.DATASETS.TEST = (), tuple(records)
    yield made_cfg
    for name in records:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_pictures_are_evenly_spread_over_every_test_set(cfg, tmp_path):
    index = json.loads(write_pictures(Fixed(), cfg, tmp_path / "run", count=2).read_text())
    images = [(p["dataset"], p["image"]) for p in index["pictures"]]
    assert images == [(n, f"{n}_{i}.png") for n in ("report_det", "report_seg") for i in ("02", "07")]
    assert [p["labels"] for p in index["pictures"][1:3]] == [["detection"], ["semantic"]]
    assert [p["classes"] for p in index["pictures"][1:3]] == [["car", "person", "road"], ["car", "road"]]


def test_predictions_below_the_score_are_not_drawn(cfg, tmp_path):
    write_pictures(Fixed(("instances",)), cfg, tmp_path, count=1)
    picture = cv2.imread(str(tmp_path / "pictures" / "report_det_0_prediction.jpg"))[..., ::-1]
    red, blue = picture[130, 60].astype(int), picture[110, 200].astype(int)
    assert red[0] - red[2] > 100
    assert abs(blue - 90).max() < 20
    truth = cv2.imread(str(tmp_path / "pictures" / "report_det_0_truth.jpg"))[..., ::-1]
    assert truth[130, 60].astype(int)[2] - truth[130, 60].astype(int)[0] > 100


def test_model_runs_in_evaluation_mode_and_every_mode_is_restored(cfg, tmp_path):
    model = Fixed().train()
    model.frozen.eval()
    write_pictures(model, cfg, tmp_path, count=1)
    assert model.modes == [(False, False)] * 2
    assert model.training
    assert not model.frozen.training


def test_modes_are_restored_when_the_model_fails(cfg, tmp_path):
    model = Fixed(("no such output",)).train()
    index = json.loads(write_pictures(model, cfg, tmp_path, count=2).read_text())
    assert model.training
    assert index["pictures"] == []
    assert {one["reason"] for one in index["failed"]} == {"KeyError: 'no such output'"}
    html = write_report(tmp_path).read_text()
    assert html.count("Not drawn: report_det: report_det_02.png, report_det_07.png: KeyError") == 1


def test_model_of_one_task_is_drawn(cfg, tmp_path):
    write_pictures(Fixed(("sem_seg",)), cfg, tmp_path, count=1)
    assert (tmp_path / "pictures" / "report_seg_0_prediction.jpg").exists()


def test_more_pictures_than_images_are_as_many_as_there_are(cfg, tmp_path):
    index = json.loads(write_pictures(Fixed(), cfg, tmp_path, count=99).read_text())
    assert len(index["pictures"]) == 20


def test_count_below_one_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match="count must be at least 1 picture per data set, found 0"):
        write_pictures(Fixed(), cfg, tmp_path, count=0)


def test_report_embeds_the_pictures_and_says_the_threshold(cfg, tmp_path):
    write_pictures(Fixed(), cfg, tmp_path, count=4, score_threshold=0.25)
    html = write_report(tmp_path).read_text()
    assert html.count("data:image/jpeg;base64,") == 16
    assert "score of at least 0.25" in html
    assert "2 more images" in html
    assert "ground truth: semantic" in html


def test_report_keeps_to_its_budget_and_says_what_it_left_out(cfg, tmp_path, monkeypatch):
    write_pictures(Fixed(), cfg, tmp_path, count=3)
    monkeypatch.setattr(gallery, "BUDGET", 1)
    html = write_report(tmp_path).read_text()
    assert html.count("data:image/jpeg") == 2
    assert "5 more are in the folder pictures" in html


def test_lost_picture_is_named(cfg, tmp_path):
    write_pictures(Fixed(), cfg, tmp_path, count=1)
    (tmp_path / "pictures" / "report_det_0_truth.jpg").unlink()
    assert "Pictures that cannot be read: report_det_0_prediction.jpg" in write_report(tmp_path).read_text()


def test_index_cannot_reach_files_outside_the_picture_folder(cfg, tmp_path):
    index = write_pictures(Fixed(), cfg, tmp_path, count=1)
    (tmp_path / "secret").write_text("secret")
    content = json.loads(index.read_text())
    content["pictures"][0]["prediction"] = "../secret"
    index.write_text(json.dumps(content))
    assert "Pictures that cannot be read: ../secret" in write_report(tmp_path).read_text()
