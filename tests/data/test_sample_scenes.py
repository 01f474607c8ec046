"""The sample scenes: image, depth, normals, classes, instances and boxes agree to the pixel."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_d2.data.sample_scenes.camera import Camera
from mtl_d2.data.sample_scenes.classes import (
    DETECTION,
    IGNORE,
    SEMANTIC,
    SEMANTIC_OF_DETECTION,
    TRAIN_ID,
)
from mtl_d2.data.sample_scenes.models.shapes import box
from mtl_d2.data.sample_scenes.paints import plain
from mtl_d2.data.sample_scenes.presets import PRESETS
from mtl_d2.data.sample_scenes.render import SceneObject, render
from mtl_d2.data.sample_scenes.scene import make_scene, tight_box
from mtl_d2.data.sample_scenes.solids import Cylinder, Ellipsoid, Face, Pose

SIZE = (160, 96)
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
