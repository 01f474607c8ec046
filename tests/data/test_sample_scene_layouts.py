"""The layouts of the sample scenes all say what the scene says, and the command leaves alone what is not its own."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mtl_d2.data.outlines import coco_polygons
from mtl_d2.data.sample_scenes.classes import (
    IGNORE,
    SEMANTIC,
    TRAIN_ID,
    semantic_name,
)
from mtl_d2.data.sample_scenes.generate import MANIFEST, Request, generate
from mtl_d2.data.sample_scenes.layouts import bdd100k, cityscapes, coco
from mtl_d2.data.sample_scenes.layouts.coco_classes import coco_categories
from mtl_d2.data.sample_scenes.markings import Markings
from mtl_d2.data.sample_scenes.presets import PRESETS
from mtl_d2.data.sample_scenes.scene import make_scene
from mtl_d2.data.sample_scenes.statistics import statistics

TOOL = Path(__file__).parents[2] / "tools" / "make_sample_scenes.py"
SIZE = (160, 96)
REQUEST = Request(train=4, val=2, size=SIZE, seed=3, preset="hard")


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(PRESETS[preset], SIZE, 3, "train", i) for preset in ("hard", "easy") for i in range(3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "made"
    generate(path, REQUEST)
    return path


def fingerprint(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def run_tool(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name="__main__")
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_same_seed_same_bytes_whatever_the_number_of_processes(root, tmp_path):
    generate(tmp_path / "other", REQUEST, jobs=2)
    assert fingerprint(tmp_path / "other") == fingerprint(root)


def test_bdd100k_layout_labels_detection_and_segmentation_on_different_images(root):
    folder = root / "bdd100k"
    for split, detection, segmentation in (("train", 2, 2), ("val", 1, 1)):
        frames = json.loads((folder / f"labels/det_20/det_{split}.json").read_text())
        full, small = (sorted((folder / f"images/{kind}/{split}").iterdir()) for kind in ("100k", "10k"))
        masks = sorted((folder / f"labels/sem_seg/masks/{split}").iterdir())
        assert (len(full), len(small)) == (detection, segmentation)
        assert [frame["name"] for frame in frames] == [path.name for path in full]
        assert [path.stem for path in masks] == [path.stem for path in small]
        assert not {path.name for path in full} & {path.name for path in small}
        assert not {path.read_bytes() for path in full} & {path.read_bytes() for path in small}


def test_bdd100k_boxes_end_on_the_last_pixel(root):
    frame = json.loads((root / "bdd100k/labels/det_20/det_train.json").read_text())[1]
    scene = make_scene(PRESETS["hard"], SIZE, 3, "train", 1)
    for label, thing in zip(frame["labels"], scene.instances, strict=True):
        rows, columns = np.nonzero(scene.instance == thing.number)
        assert label["category"] == thing.category
        assert label["box2d"] == {"x1": columns.min(), "y1": rows.min(), "x2": columns.max(), "y2": rows.max()}


def test_bdd100k_frame_without_objects_has_no_labels(tmp_path, scenes):
    empty = type(scenes[0])(**{**vars(scenes[0]), "instances": ()})
    assert "labels" not in bdd100k.write(tmp_path, "train", 0, 2, empty)


def test_bdd100k_maps_of_the_road_are_those_of_the_scene(root):
    scene = make_scene(PRESETS["hard"], SIZE, 3, "train", 1)
    for kind in ("drivable", "lane"):
        masks = root / f"bdd100k/labels/{kind}/masks/train"
        assert [path.stem for path in sorted(masks.iterdir())] == ["train-000000", "train-000001"]
        stored = cv2.imread(str(masks / "train-000001.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(stored, getattr(scene.road, kind))


def test_what_is_drivable_and_marked_lies_on_the_road_and_starts_at_the_camera(scenes):
    road = TRAIN_ID["road"]
    for scene in scenes:
        drivable, lane = scene.road
        assert set(scene.semantic[drivable < 2]) == {road}
        assert set(scene.semantic[lane < 255]) == {road}
        assert drivable[-1, SIZE[0] // 2] == 0 or scene.semantic[-1, SIZE[0] // 2] != road


def test_markings_are_the_bright_parts_of_the_road(scenes):
    for scene in scenes:
        near = (scene.semantic == TRAIN_ID["road"]) & (scene.depth < 12)
        brightness = scene.image.mean(2)
        assert (
            brightness[near & (scene.road.lane < 255)].mean() > 1.4 * brightness[near & (scene.road.lane == 255)].mean()
        )


def test_lines_between_lanes_are_dashed_unless_these_are_opposite():
    markings = Markings((-5.0, 5.0), ((-2.0, True), (2.0, False)), phase=0.0, crossing=40.0)
    x, z = np.array([-5.0, -2, 2, 2, 0, 0.2, 0.2]), np.array([6.0, 6, 6, 10, 10, 41, 44])
    assert markings.values(x, z).tolist() == [6, 6, 255, 6 | 16, 255, 0 | 32, 255]


def test_bdd100k_masks_are_the_train_ids(root):
    scene = make_scene(PRESETS["hard"], SIZE, 3, "train", 3)
    mask = cv2.imread(str(root / "bdd100k/labels/sem_seg/masks/train/train-000003.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, scene.semantic)


def test_cityscapes_files_belong_together(root):
    folder = root / "cityscapes"
    images = sorted(folder.glob("leftImg8bit/*/*/*.png"))
    assert len(images) == 6
    for image in images:
        assert re.fullmatch(r"[a-z]+_\d{6}_\d{6}_leftImg8bit\.png", image.name)
        assert image.name.startswith(image.parent.name)
        place, stem = image.parent.relative_to(folder / "leftImg8bit"), image.name.removesuffix("leftImg8bit.png")
        for ending in ("labelIds.png", "labelTrainIds.png", "instanceIds.png", "polygons.json"):
            assert (folder / "gtFine" / place / f"{stem}gtFine_{ending}").exists()
        assert (folder / "disparity" / place / f"{stem}disparity.png").exists()
        assert (folder / "camera" / place / f"{stem}camera.json").exists()


def test_cityscapes_instance_ids_refine_the_label_ids(scenes):
    for scene in scenes:
        ids, labels = cityscapes.instance_ids(scene), cityscapes.label_ids(scene.semantic)
        np.testing.assert_array_equal(np.where(ids >= 1000, ids // 1000, ids), labels)
        countable = [thing for thing in scene.instances if SEMANTIC[thing.semantic].countable]
        assert len(np.unique(ids[ids >= 1000])) == len(countable)


def test_cityscapes_polygons_drawn_in_order_give_the_labels_back(scenes):
    for scene in scenes:
        content = cityscapes.polygons(scene.semantic, cityscapes.instance_ids(scene))
        drawn = np.full(scene.semantic.shape, 254, dtype=np.uint8)
        train_ids = {semantic_name(i): i for i in (*range(len(SEMANTIC)), IGNORE)}
        for thing in content["objects"]:
            cv2.fillPoly(drawn, [np.array(thing["polygon"])], train_ids[thing["label"]])
        assert (drawn == scene.semantic).mean() > 0.999


def test_disparity_is_baseline_times_focal_over_depth(scenes):
    for scene in scenes:
        stored = cityscapes.disparity(scene)
        seen = scene.depth > 0
        assert (stored[~seen] == 0).all()
        pixels = (stored[seen].astype(np.float64) - 1) / 256
        np.testing.assert_allclose(pixels, cityscapes.BASELINE * scene.camera.focal / scene.depth[seen], atol=0.5 / 256)


def test_coco_polygons_give_the_masks_back(root):
    data = COCO(str(root / "coco/annotations/instances_train2017.json"))
    checked = 0
    for index in range(4):
        scene = make_scene(PRESETS["hard"], SIZE, 3, "train", index)
        record = data.loadImgs([index + 1])[0]
        assert (root / "coco/train2017" / record["file_name"]).exists()
        annotations = data.loadAnns(data.getAnnIds([record["id"]]))
        things = [thing for thing in scene.instances if coco.category_id(thing)]
        for annotation, thing in zip(annotations, things, strict=True):
            mask = scene.instance == thing.number
            drawn = data.annToMask(annotation).astype(bool)
            assert (mask & drawn).sum() / (mask | drawn).sum() > 0.9
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"][2] == np.ptp(np.nonzero(mask)[1]) + 1
            checked += 1
    assert checked > 10


def test_coco_polygons_keep_holes_open():
    mask = np.ones((20, 30), dtype=bool)
    mask[5:12, 4:9] = mask[8:14, 15:22] = mask[9:11, 17:19] = False
    mask[10, 18] = True
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(coco_polygons(mask), 20, 30)))
    np.testing.assert_array_equal(drawn, mask)


def test_coco_categories_have_the_published_ids():
    ids = {c["name"]: c["id"] for c in coco_categories()}
    assert len(ids) == 80
    expected = {
        "person": 1,
        "bus": 6,
        "traffic light": 10,
        "stop sign": 13,
        "backpack": 27,
        "dining table": 67,
        "tv": 72,
    }
    assert {name: ids[name] for name in expected} == expected
    assert ids["toothbrush"] == 90


def test_nyu_arrays_mark_what_is_not_labelled(root):
    scene = make_scene(PRESETS["hard"], SIZE, 3, "val", 1)
    image, label, depth, normal = (
        np.load(root / f"nyuv2/val/{kind}/1.npy") for kind in ("image", "label", "depth", "normal")
    )
    assert {a.dtype for a in (image, label, depth, normal)} == {np.dtype(np.float32)}
    assert (image.shape, label.shape, depth.shape) == ((96, 160, 3), (96, 160), (96, 160, 1))
    np.testing.assert_allclose(image * 255, scene.image, atol=1e-3)
    np.testing.assert_array_equal(label, np.where(scene.semantic == IGNORE, -1.0, scene.semantic))
    sky = label == TRAIN_ID["sky"]
    assert (depth[sky] == 0).all()
    assert (normal[sky] == 0).all()


def test_finished_root_is_left_alone(root, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    arguments = ["--root", root, "--train", 4, "--val", 2, "--size", "160x96", "--seed", 3, "--preset", "hard"]
    code, out, _ = run_tool(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "there already" in out
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_half_written_root_is_made_anew(root, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    manifest = json.loads((broken / MANIFEST).read_text())
    (broken / MANIFEST).write_text(json.dumps({**manifest, "finished": False, "train": 9}))
    (broken / "bdd100k/images/100k/train/left-over.jpg").touch()
    (broken / "bdd100k/images/100k/train/train-000000.jpg").unlink()
    generate(broken, REQUEST)
    assert fingerprint(broken) == fingerprint(root)


def test_other_scenes_in_the_root_are_not_touched(root):
    with pytest.raises(ValueError, match=r"holds other sample scenes: seed 3 \(asked for: 5\).*Give another root"):
        generate(root, Request(4, 2, SIZE, 5, "hard"))


def test_foreign_data_in_the_root_is_not_touched(tmp_path):
    (tmp_path / "bdd100k").mkdir()
    with pytest.raises(ValueError, match="'bdd100k' that is not of sample scenes: give another root"):
        generate(tmp_path, REQUEST)


def test_statistics_count_what_is_there(root):
    text = statistics(root)
    frames = [
        f for s in ("train", "val") for f in json.loads((root / f"bdd100k/labels/det_20/det_{s}.json").read_text())
    ]
    cars = sum(label["category"] == "car" for frame in frames for label in frame.get("labels", []))
    assert f"| car | {cars} |" in text
    assert "| road |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "320"], "size must be WxH, e.g. 320x192, but is '320'"),
        (["--size", "32x20"], "size must be from 64x48 to 4096x4096, but is 32x20"),
        (["--train", "-1"], "train must be 0 or more, but is -1"),
        (["--train", "0"], "train and val are both 0"),
        (["--seed", "-2"], "seed must be 0 or more, but is -2"),
        (["--preset", "medium"], "preset must be one of easy, hard, but is 'medium'"),
        (["--layouts", "coco,kitti"], "layouts must be of bdd100k,cityscapes,coco,nyu, but has 'kitti'"),
        (["--jobs", "0"], "jobs must be 1 or more, but is 0"),
        (["--root", "FILE"], "FILE"),
        (["--statistics", "FILE"], "statistics needs a folder with finished sample scenes"),
    ],
)
def test_bad_arguments_give_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()
    code, _, err = run_tool(monkeypatch, capsys, "--root", tmp_path / "x", "--train", 1, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
