import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from mtl_d2.data import DataError, build_train_loader, check_data, register_all
from mtl_d2.data.datasets import nyu_depth
from mtl_d2.evaluation.build import build_evaluator

from .tiny_nyu_depth import FAR, NEAR, write_tiny_nyu_depth

LIST = "nyu_depth_v2/nyudepthv2_train_files_with_gt.txt"


@pytest.fixture
def root(tmp_path):
    write_tiny_nyu_depth(tmp_path)
    return tmp_path


@pytest.fixture
def nyu_cfg(cfg, root, tmp_path):
    register_all(str(root))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("nyu_depth_train",), ("nyu_depth_test",)
    cfg.MTL.TASKS = ("depth",)
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    return cfg


def test_a_line_is_an_image_and_its_depth(root):
    first = nyu_depth.load(str(root), "train")[0]
    assert first["file_name"] == str(root / "nyu_depth_v2/sync/kitchen_0028b/rgb_00045.jpg")
    assert first["depth_file_name"] == str(root / "nyu_depth_v2/sync/kitchen_0028b/sync_depth_00045.png")
    (test,) = nyu_depth.load(str(root), "test")
    assert test["file_name"] == str(root / "nyu_depth_v2/official_splits/test/kitchen/rgb_00045.jpg")


def test_depth_is_metres(nyu_cfg):
    check_data(nyu_cfg)
    sample = next(iter(build_train_loader(nyu_cfg)))[0]
    assert sample["tasks"] == ("depth",)
    assert sample["depth"].unique().tolist() == [0.0, NEAR, FAR]


def test_range_and_crop_are_those_of_bts(nyu_cfg):
    assert MetadataCatalog.get("nyu_depth_test").depth_range == (0.001, 10.0)
    assert not hasattr(MetadataCatalog.get("nyu_depth_test"), "depth_crop")
    assert MetadataCatalog.get("nyu_depth_test_eigen_crop").depth_crop == "eigen"


def measured(cfg, name, prediction):
    """The evaluator of a test set after one image, and its metrics."""
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    evaluator.process(DatasetCatalog.get("nyu_depth_test"), [{"depth": prediction}])
    return evaluator, evaluator.evaluate().get("depth")


@pytest.mark.parametrize(
    ("row", "column", "inside"), [(45, 41, 1), (470, 600, 1), (44, 300, 0), (471, 300, 0), (300, 40, 0), (300, 601, 0)]
)
def test_eigens_crop_leaves_the_border_out(nyu_cfg, root, row, column, inside):
    write_tiny_nyu_depth(root, (480, 640))
    prediction = torch.full((480, 640), NEAR)
    prediction[:240] = FAR
    prediction[row, column] += 1.0
    # 480 rows less the first, which has no label; 426 rows and 560 columns within the crop
    for name, error in (("nyu_depth_test", 1 / (479 * 640)), ("nyu_depth_test_eigen_crop", inside / (426 * 560))):
        assert measured(nyu_cfg, name, prediction)[1]["abs_err"] == pytest.approx(error, abs=1e-12)


def test_eigens_crop_is_of_one_size_of_images(nyu_cfg):
    evaluator, _ = measured(nyu_cfg, "nyu_depth_test_eigen_crop", torch.ones(40, 60))
    assert "'eigen' is of maps of 480 x 640 (height x width), this has 40 x 60" in evaluator.failures["depth",]


def test_a_crop_that_there_is_not_is_refused(nyu_cfg, monkeypatch):
    monkeypatch.setattr(MetadataCatalog.get("nyu_depth_test"), "depth_crop", "garg", raising=False)
    evaluator, _ = measured(nyu_cfg, "nyu_depth_test", torch.ones(40, 60))
    assert "`depth_crop` in its metadata must be one of 'eigen', found 'garg'" in evaluator.failures["depth",]


# Bad input.


def test_missing_depth_maps_are_counted_and_the_first_named(root):
    for path in (root / "nyu_depth_v2/sync").rglob("*.png"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"2 of 2 files \*.png of a label .*attic_0001/sync_depth_00001.png: unpack BTS"
    ):
        nyu_depth.load(str(root), "train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"list .*train_files_with_gt.txt not found"),
        ("\n", r"names no image"),
        ("/a/rgb_1.jpg\n", r"expected lines of an image, its depth map and a focal length, found '/a/rgb_1.jpg'"),
    ],
)
def test_what_is_wrong_with_a_list_is_one_line(root, content, said):
    (root / LIST).unlink() if content is None else (root / LIST).write_text(content)
    with pytest.raises(DataError, match=said) as error:
        nyu_depth.load(str(root), "train")
    assert "\n" not in str(error.value)


def test_a_wrong_root_names_the_variable(tmp_path):
    with pytest.raises(DataError, match=r"nyu_depth_v2 not found .*DETECTRON2_DATASETS"):
        nyu_depth.load(str(tmp_path), "train")


def test_a_depth_map_of_another_size_than_its_image_is_found_before_the_training(nyu_cfg, root):
    path = root / "nyu_depth_v2/sync/attic_0001/sync_depth_00001.png"
    Image.fromarray(np.full((20, 60), 2000, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"00001.png: size \(20, 60\) \(height, width\), but its image has \(40, 60\)"):
        check_data(nyu_cfg)


def test_lists_that_windows_wrote_are_read(root):
    before = nyu_depth.load(str(root), "train")
    (root / LIST).write_bytes((root / LIST).read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    assert nyu_depth.load(str(root), "train") == before
    (root / LIST).write_bytes((root / LIST).read_text().encode("utf-16"))
    with pytest.raises(DataError, match=r"train_files_with_gt.txt is no text in UTF-8 .*: fetch it again, or save"):
        nyu_depth.load(str(root), "train")
