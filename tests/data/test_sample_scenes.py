"""The sample scenes: labels agree with one another to the pixel, and every layout says the same about them."""

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

from mtl_d2.data.sample_scenes.camera import Camera
from mtl_d2.data.sample_scenes.classes import (
    DETECTION,
    IGNORE,
    SEMANTIC,
    SEMANTIC_OF_DETECTION,
    TRAIN_ID,
    semantic_name,
)
from mtl_d2.data.sample_scenes.generate import MANIFEST, Request, generate
from mtl_d2.data.sample_scenes.layouts import bdd100k, cityscapes, coco
from mtl_d2.data.sample_scenes.layouts.coco_classes import coco_categories
from mtl_d2.data.sample_scenes.models.shapes import box
from mtl_d2.data.sample_scenes.outlines import coco_polygons
from mtl_d2.data.sample_scenes.paints import plain
from mtl_d2.data.sample_scenes.presets import PRESETS
from mtl_d2.data.sample_scenes.render import SceneObject, render
from mtl_d2.data.sample_scenes.scene import make_scene, tight_box
from mtl_d2.data.sample_scenes.solids import Cylinder, Ellipsoid, Face, Pose
from mtl_d2.data.sample_scenes.statistics import statistics

TOOL = Path(__file__).parents[2] / "tools" / "make_sample_scenes.py"
SIZE = (160, 96)
REQUEST = Request(train=4, val=2, size=SIZE, seed=3, preset="hard")
CAMERA = Camera(width=40, height=30, focal=40.0, center=(20.0, 15.0), elevation=1.5)
FROZEN_CATEGORIES = ["bus", "truck", "pedestrian", "pedestrian", "traffic sign", "traffic sign"]
FROZEN_BOXES = [
    [151, 51, 205, 118],
    [9, 35, 136, 137],
    [246, 79, 274, 135],
    [299, 75, 320, 138],
    [275, 2, 320, 46],
    [241, 55, 267, 76],
]
FROZEN_MEAN = [120.8, 121.0, 123.4]


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


def draw(*things):
    return render(CAMERA, things, np.array([0.0, 1.0, 0.0]))


def panel(z, semantic, half=1.0):
    corners = np.array([[-half, 0.5, 0], [half, 0.5, 0], [half, 2.5, 0], [-half, 2.5, 0]])
    return SceneObject([Face(corners, plain((0.5, 0.5, 0.5)))], Pose(np.array([0.0, 0.0, z])), semantic)


def test_nearer_object_hides_the_farther_one_in_any_order():
    for things in ((panel(10, 1, 4), panel(5, 2)), (panel(5, 2), panel(10, 1, 4))):
        out = draw(*things)
        assert out.semantic[15, 20] == 2
        assert out.depth[15, 20] == pytest.approx(5)
        assert out.semantic[15, 10] == 1
        assert out.depth[15, 10] == pytest.approx(10)
        assert (out.depth[out.semantic == TRAIN_ID["sky"]] == 0).all()


def test_a_plane_covers_the_pixels_that_its_corners_project_to():
    out = draw(panel(10, 1))  # 8 pixels wide and high: 2 m * 40 / 10 m
    assert tight_box(out.semantic == 1) == (16, 11, 24, 19)
    assert np.count_nonzero(out.semantic == 1) == 64


def test_ground_depth_and_normal_are_those_of_the_plane():
    ground = Face(np.array([[-50.0, 0, -2], [50, 0, -2], [50, 0, 90], [-50, 0, 90]]), plain((0.5, 0.5, 0.5)))
    out = draw(SceneObject([ground], Pose(np.zeros(3)), 0))
    assert out.depth[29, 3] == pytest.approx(40 * 1.5 / 14.5, rel=1e-5)
    np.testing.assert_allclose(out.normal[29, 3], [0, -1, 0], atol=1e-6)


def test_round_bodies_are_as_near_as_their_radius_and_look_at_the_camera():
    middle = Camera(width=41, height=31, focal=40.0, center=(20.5, 15.5), elevation=1.5)  # has a pixel in the middle
    ball = Ellipsoid(np.array([0, 1.5, 0]), np.array([1.0, 1.0, 2.0]), plain((0.5, 0.5, 0.5)))
    pillar = Cylinder(np.array([0, 1.5, 0]), 1.0, 3.0, 1, plain((0.5, 0.5, 0.5)))
    for body, depth in ((ball, 8.0), (pillar, 9.0)):
        out = render(middle, [SceneObject([body], Pose(np.array([0.0, 0, 10])), 1)], np.array([0.0, 1.0, 0.0]))
        assert out.depth[15, 20] == pytest.approx(depth, abs=1e-5)
        np.testing.assert_allclose(out.normal[15, 20], [0, 0, -1], atol=1e-5)


def test_a_box_turned_away_shows_its_near_side_only():
    out = draw(SceneObject(box((2, 2, 2), 0.5, plain((0.5, 0.5, 0.5))), Pose(np.array([0.0, 0, 10]), np.pi / 4), 1))
    assert out.depth[15, 20] == pytest.approx(10 - np.sqrt(2), abs=0.12)
    assert (out.normal[out.semantic == 1][:, 2] < 0).all()


def test_shadow_lies_under_the_object_and_only_on_the_ground():
    ground = Face(np.array([[-50.0, 0, -2], [50, 0, -2], [50, 0, 90], [-50, 0, 90]]), plain((0.5, 0.5, 0.5)))
    foot = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5
    floating = SceneObject([], Pose(np.array([0.0, 0, 6])), 1, footprint=foot)
    out = draw(SceneObject([ground], Pose(np.zeros(3)), TRAIN_ID["road"]), floating)
    assert out.shade[25, 20] > 0  # 1.5 m * 40 / 10.5 rows: 5.7 m away
    assert out.shade[25, 5] == 0
    assert out.shade[5, 20] == 0


def test_boxes_are_the_extent_of_the_instance_masks(scenes):
    for scene in scenes:
        assert scene.instances
        assert set(np.unique(scene.instance)) - {0} == {thing.number for thing in scene.instances}
        for thing in scene.instances:
            mask = scene.instance == thing.number
            rows, columns = np.nonzero(mask)
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.area == mask.sum()


def test_semantics_and_instances_agree(scenes):
    for scene in scenes:
        for thing in scene.instances:
            assert thing.category in DETECTION
            assert thing.semantic == SEMANTIC_OF_DETECTION[thing.category]
            assert (scene.semantic[scene.instance == thing.number] == thing.semantic).all()
        assert set(np.unique(scene.semantic)) <= {*range(len(SEMANTIC)), IGNORE}


def test_normals_are_unit_vectors_towards_the_camera_where_there_is_depth(scenes):
    for scene in scenes:
        seen = scene.depth > 0
        assert (seen == (scene.semantic != TRAIN_ID["sky"])).all()
        np.testing.assert_allclose(np.linalg.norm(scene.normal[seen], axis=1), 1, atol=1e-5)
        assert not scene.normal[~seen].any()
        xs, ys = scene.camera.ray_grid()
        rays = np.stack([*np.meshgrid(xs, ys), np.ones(seen.shape)], 2)
        assert (np.sum(rays * scene.normal, 2)[seen] < 1e-4).all()


def test_road_depth_follows_from_the_camera(scenes):
    for scene in scenes:
        xs, ys = scene.camera.ray_grid()
        up = scene.camera.rotation @ [0, 1, 0]
        drop = -(xs[None] * up[0] + ys[:, None] * up[1] + up[2])
        road = scene.semantic == TRAIN_ID["road"]
        np.testing.assert_allclose((scene.depth * drop)[road], scene.camera.elevation, rtol=1e-4)


def test_scene_depends_on_seed_split_and_index_only(scenes):
    again = make_scene(PRESETS["hard"], SIZE, 3, "train", 0)
    np.testing.assert_array_equal(again.image, scenes[0].image)
    for seed, split, index in ((4, "train", 0), (3, "val", 0), (3, "train", 1)):
        other = make_scene(PRESETS["hard"], SIZE, seed, split, index)
        assert (other.image != again.image).mean() > 0.5


def test_the_presets_are_frozen():
    """Training is tuned on version 1: other scenes need another GENERATOR_VERSION."""
    scene = make_scene(PRESETS["easy"], (320, 192), 0, "train", 0)
    assert [thing.category for thing in scene.instances] == FROZEN_CATEGORIES
    np.testing.assert_allclose([thing.box for thing in scene.instances], FROZEN_BOXES, atol=1)
    np.testing.assert_allclose(scene.image.mean((0, 1)), FROZEN_MEAN, atol=0.5)


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
