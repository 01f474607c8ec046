"""The sample scenes with every label on the same images."""

import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, register_all
from mtl_d2.data.datasets import sample_scenes
from mtl_d2.data.dense_files import depth_encoding, read_depth, read_normals
from mtl_d2.data.images import read_file
from mtl_d2.data.sample_scenes.generate import Request, generate
from mtl_d2.data.sample_scenes.presets import PRESETS
from mtl_d2.data.sample_scenes.scene import make_scene


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "made"
    generate(path, Request(train=3, val=1, size=(96, 64), layouts=("cityscapes", "nyu")))
    return path


def test_all_labels_are_those_of_the_scene_in_its_image(root):
    register_all(str(root))
    records = DatasetCatalog.get("sample_scenes_all_train")
    metadata = MetadataCatalog.get("sample_scenes_all_train").as_dict()
    assert [int(r["image_id"].split("_")[1]) for r in records] == [0, 1, 2]
    for i, record in enumerate(records):
        scene = make_scene(PRESETS["easy"], (96, 64), 0, "train", i)
        assert np.array_equal(read_file(record["file_name"], "RGB"), scene.image)
        depth = read_depth(record["depth_file_name"], depth_encoding(metadata["depth_encoding"]))
        assert np.array_equal(depth.values, scene.depth)
        np.testing.assert_allclose(read_normals(record["normals_file_name"]).values, scene.normal, atol=1e-6)
        disparity = read_depth(
            record["depth_file_name/disparity"], depth_encoding(metadata["depth_encoding/disparity"])
        ).values
        seen = (scene.depth > 0) & (disparity > 0)
        np.testing.assert_allclose(disparity[seen], 0.209313 * scene.camera.focal / scene.depth[seen], atol=0.002)
        assert (cv2.imread(record["sem_seg_file_name"], -1) == 23).sum() == (scene.depth == 0).sum()  # sky
        countable = [thing for thing in scene.instances if thing.semantic >= 11]
        assert len(record["annotations"]) == len(countable)


def test_a_missing_layout_is_said(root, tmp_path):
    shutil.copytree(root / "cityscapes", tmp_path / "cityscapes")
    with pytest.raises(DataError, match=r"depth/0\.npy is missing, of the scene .*: make the scenes with the layouts"):
        sample_scenes.load(str(tmp_path), "train")
