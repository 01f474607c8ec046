import json
import logging

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, SemSegEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image

from mtl_d2.data import DataError, check_data, register_all
from mtl_d2.data.datasets.bdd100k import load_detection, load_semantic

from .tiny_bdd100k import DETECTION, HEIGHT, SEMANTIC, WIDTH, rectangle, write_json, write_png


def write_frames(root, frames):
    write_json(root / "bdd100k/labels/det_20/det_train.json", frames)


def box(category, **attributes):
    corners = {"x1": 2, "y1": 3, "x2": 10, "y2": 12}
    return {"category": category, "box2d": corners, "attributes": attributes}


def annotations_of(root, *labels):
    write_frames(root, [{"name": "det-train-0.jpg", "labels": list(labels)}])
    return load_detection(str(root), "train")[0]["annotations"]


def test_a_detection_record_has_the_file_its_size_and_its_boxes(tiny_root):
    record = DatasetCatalog.get("bdd100k_det_train")[1]
    assert record["file_name"] == str(tiny_root / "bdd100k/images/100k/train/det-train-1.jpg")
    assert (record["height"], record["width"], record["image_id"]) == (HEIGHT, WIDTH, "det-train-1")
    assert [a["category_id"] for a in record["annotations"]] == [2]
    assert "sem_seg_file_name" not in record


def test_the_second_corner_belongs_to_the_box(tiny_root):
    x1, y1, x2, y2 = rectangle(0)
    (annotation,) = DatasetCatalog.get("bdd100k_det_train")[0]["annotations"]
    assert annotation["bbox"] == [x1, y1, x2 + 1, y2 + 1]


@pytest.mark.parametrize("frame", [{}, {"labels": None}, {"labels": []}])
def test_a_frame_without_labels_is_labelled_and_empty(tiny_root, frame):
    write_frames(tiny_root, [{"name": "det-train-0.jpg", **frame}])
    assert load_detection(str(tiny_root), "train")[0]["annotations"] == []


@pytest.mark.parametrize(("name", "of"), [("person", 0), ("bike", 7), ("motor", 6), ("traffic sign", 9)])
def test_names_of_other_releases_are_understood(tiny_root, name, of):
    assert annotations_of(tiny_root, box(name))[0]["category_id"] == of


def test_uncertain_regions_are_crowd_of_the_class_beside_them(tiny_root, caplog):
    caplog.set_level(logging.INFO, "mtl_d2")
    found = annotations_of(tiny_root, box("other vehicle"), box("car", crowd=True), box("car", crowd=False))
    assert [(a["category_id"], a["iscrowd"]) for a in found] == [(2, 1), (2, 1), (2, 0)]
    assert "2 boxes are crowd regions, neither trained on nor counted" in caplog.text


def test_lanes_and_inverted_boxes_are_no_objects(tiny_root):
    inverted = {"category": "car", "box2d": {"x1": 9, "y1": 3, "x2": 5, "y2": 12}}
    assert annotations_of(tiny_root, {"category": "lane/road curb", "poly2d": []}, inverted) == []


def test_unknown_categories_are_counted_and_the_known_ones_named(tiny_root):
    with pytest.raises(
        DataError, match=r"det_train.json: 2 boxes of unknown category 'cow', first in 'det-train-0.jpg'"
    ) as e:
        annotations_of(tiny_root, box("cow"), box("horse"), box("cow"), box("car"))
    assert "1 boxes of unknown category 'horse'" in str(e.value)
    assert "pedestrian, rider, car, truck" in str(e.value)


def test_labels_with_half_a_box_are_an_error(tiny_root):
    with pytest.raises(DataError, match="2 labels lack `category` or one of box2d's"):
        annotations_of(tiny_root, {"box2d": box("car")["box2d"]}, {"category": "car", "box2d": {"x1": 1}})


def test_broken_json_names_file_line_and_column(tiny_root):
    path = tiny_root / "bdd100k/labels/det_20/det_train.json"
    path.write_text('[\n{"name": "a.jpg", "labels": [')
    with pytest.raises(DataError, match=r"det_train\.json, line 2, column \d+: not valid JSON"):
        load_detection(str(tiny_root), "train")


@pytest.mark.parametrize("content", [[], {"images": []}, [{"labels": []}], ["a.jpg"]])
def test_json_of_another_structure_is_refused(tiny_root, content):
    write_frames(tiny_root, content)
    with pytest.raises(DataError, match=r"det_train.json: .* see docs/datasets.md"):
        load_detection(str(tiny_root), "train")


def test_scalabel_files_with_frames_are_read(tiny_root):
    write_frames(tiny_root, {"frames": [{"name": "det-train-0.jpg", "labels": [box("car")]}], "config": None})
    assert len(load_detection(str(tiny_root), "train")[0]["annotations"]) == 1


def test_a_wrong_root_says_where_it_looked_and_what_the_variable_is(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    register_all()
    with pytest.raises(DataError, match=r"nowhere/bdd100k not found \(\$DETECTRON2_DATASETS is '.*nowhere'\): set"):
        DatasetCatalog.get("bdd100k_sem_seg_val")


def test_a_semantic_record_names_its_mask(tiny_root):
    records = DatasetCatalog.get("bdd100k_sem_seg_val")
    assert len(records) == SEMANTIC
    assert records[2]["sem_seg_file_name"].endswith("labels/sem_seg/masks/val/seg-val-2.png")
    assert "annotations" not in records[2]


def test_images_without_a_mask_and_masks_without_an_image_are_left_out_and_said_once(cfg, tiny_root, caplog):
    base = tiny_root / "bdd100k"
    for i in (0, 3):
        (base / f"labels/sem_seg/masks/train/seg-train-{i}.png").unlink()
    (base / "images/10k/train/seg-train-2.jpg").unlink()
    check_data(cfg)
    assert [r["image_id"] for r in load_semantic(str(tiny_root), "train")] == ["seg-train-1", "seg-train-4"]
    assert [r.message for r in caplog.records if "left out" in r.message] == [
        f"2 of 4 images have no label in {base}/labels/sem_seg/masks/train and are left out, the first is seg-train-0",
        f"1 of 3 labels have no image in {base}/images/10k/train and are left out, the first is seg-train-2",
    ]


def test_images_without_a_mask_and_masks_without_an_image_are_refused_where_that_is_asked_for(cfg, tiny_root):
    base = tiny_root / "bdd100k"
    MetadataCatalog.get("bdd100k_sem_seg_train").set(unpaired_files="refuse")
    check_data(cfg)
    (base / "labels/sem_seg/masks/train/seg-train-3.png").unlink()
    (base / "images/10k/train/seg-train-2.jpg").unlink()
    with pytest.raises(DataError) as error:
        check_data(cfg)
    assert str(error.value) == (
        f"bdd100k_sem_seg_train: 1 of 4 images have no label in {base}/labels/sem_seg/masks/train, the first is "
        f"seg-train-3 and 1 of 4 labels have no image in {base}/images/10k/train, the first is seg-train-2: add them, "
        "or leave `unpaired_files` out of its metadata"
    )
    MetadataCatalog.get("bdd100k_sem_seg_val").set(unpaired_files="yes")
    with pytest.raises(
        DataError, match=r"`unpaired_files` in its metadata must be 'leave_out', .* or 'refuse'; found 'ye"
    ):
        check_data(cfg)


def test_labels_of_other_images_are_refused(cfg, tiny_root):
    masks = tiny_root / "bdd100k/labels/sem_seg/masks/train"
    for path in sorted(masks.iterdir()):
        path.rename(masks / f"other-{path.name}")
    with pytest.raises(
        DataError, match=r"train: none of the 5 images in .* has its label in .*, which holds 5, other-seg"
    ):
        check_data(cfg)


def test_palette_colormaps_serve_where_there_are_no_masks(tiny_root):
    labels = tiny_root / "bdd100k/labels/sem_seg"
    (labels / "masks").rename(labels / "colormaps")
    assert "colormaps" in load_semantic(str(tiny_root), "train")[0]["sem_seg_file_name"]


def test_coloured_label_images_are_refused(tiny_root):
    write_png(tiny_root / "bdd100k/labels/sem_seg/masks/train/a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"a.png holds colours \(mode RGB\), not class ids: unpack"):
        load_semantic(str(tiny_root), "train")


def test_registering_again_moves_the_root_and_forgets_the_former(tiny_root, tmp_path_factory):
    MetadataCatalog.get("bdd100k_det_val").json_file = "of the former root"
    register_all(str(tmp_path_factory.mktemp("empty")))
    assert not hasattr(MetadataCatalog.get("bdd100k_det_val"), "json_file")
    with pytest.raises(DataError):
        DatasetCatalog.get("bdd100k_det_val")


def test_perfect_boxes_score_100_with_detectron2s_evaluator(tiny_root, tmp_path):
    records = DatasetCatalog.get("bdd100k_det_val")
    evaluator = COCOEvaluator("bdd100k_det_val", ("bbox",), False, str(tmp_path / "out"), use_fast_impl=False)
    evaluator.reset()
    for record in records:
        found = Instances((HEIGHT, WIDTH))
        found.pred_boxes = Boxes([a["bbox"] for a in record["annotations"]])
        found.scores = found.pred_boxes.area() * 0 + 0.9
        found.pred_classes = found.scores.long() + 2
        evaluator.process([record], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    assert len(json.loads((tmp_path / "out/bdd100k_det_val_coco_format.json").read_text())["images"]) == DETECTION


def test_perfect_masks_score_100_with_detectron2s_evaluator(tiny_root):
    import torch

    evaluator = SemSegEvaluator("bdd100k_sem_seg_val", distributed=False)
    evaluator.reset()
    for record in DatasetCatalog.get("bdd100k_sem_seg_val"):
        truth = torch.as_tensor(cv2.imread(record["sem_seg_file_name"], cv2.IMREAD_UNCHANGED)).long()
        scores = torch.nn.functional.one_hot(truth.clamp(max=18), 19).permute(2, 0, 1)
        evaluator.process([record], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)


@pytest.fixture
def real_root(real_data, tmp_path):
    (tmp_path / "bdd100k").symlink_to(real_data / "fixtures/bdd100k_real_sample")
    return str(tmp_path)


@pytest.mark.data
def test_the_real_detection_files_are_read(real_root):
    first, second = load_detection(real_root, "train")
    assert (first["height"], first["width"]) == (720, 1280)
    assert [len(first["annotations"]), len(second["annotations"])] == [7, 6]
    assert first["annotations"][0]["category_id"] == 8  # a traffic light
    assert first["annotations"][0]["bbox"] == pytest.approx([1125.902264, 133.184488, 1157.978645, 211.875445])


@pytest.mark.data
def test_the_real_palette_files_hold_train_ids(real_root):
    records = load_semantic(real_root, "train")
    assert len(records) == 2
    with Image.open(records[0]["sem_seg_file_name"]) as image:
        assert set(np.unique(np.array(image))) <= {*range(19), 255}


@pytest.mark.data
def test_the_toolkits_own_example_gives_one_crowd_and_one_pedestrian(real_data, tiny_root):
    frames = json.loads(
        (real_data / "fixtures/bdd100k_repo_testcases/label/testcases/example_ignore_annotation.json").read_text()
    )
    write_frames(tiny_root, frames)
    first, second = load_detection(str(tiny_root), "train")
    assert [(a["category_id"], a["iscrowd"]) for a in first["annotations"]] == [(0, 1), (0, 0)]
    assert second["annotations"] == []


def test_hidden_files_that_an_archive_left_are_no_images(tiny_root):
    for path in ("images/10k/train/._seg-train-0.jpg", "labels/sem_seg/masks/train/._seg-train-0.png"):
        (tiny_root / "bdd100k" / path).write_bytes(b"\x00\x05\x16\x07")
    assert len(load_semantic(str(tiny_root), "train")) == SEMANTIC
