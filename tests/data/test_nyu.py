"""NYUv2 from the official MATLAB files and from the two archives NYUD_MT."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy.io import loadmat, savemat

from mtl_d2.data import DataError, MultiTaskMapper, check_data, register_all
from mtl_d2.data.datasets.nyu_classes import CLASSES_13, CLASSES_40, OF_13
from mtl_d2.data.datasets.nyuv2 import CLASSES
from mtl_d2.data.loader import training_records
from mtl_d2.evaluation import rehearsal

from .matlab_files import save_73
from .test_mtan import dense_cfg
from .tiny_dense import FLOOR, depth, image, normals, write_nyud_mt, write_official_nyu

pytestmark = pytest.mark.usefixtures("forgotten")


def sample_of(cfg, image_id):
    records = {record["image_id"]: record for record in training_records(cfg, cfg.DATASETS.TRAIN[0])}
    return MultiTaskMapper(cfg, True)(records[image_id])


@pytest.fixture
def official(tmp_path):
    write_official_nyu(tmp_path)
    register_all(str(tmp_path))
    return tmp_path / "nyu_depth_v2"


@pytest.mark.parametrize(
    ("classes", "floor", "wall", "none"),
    [(13, "floor", "wall", 255), (14, "floor", "wall", 0), (40, "floor", "wall", 255)],
)
def test_official_labels_become_classes_through_the_tables(official, classes, floor, wall, none):
    cfg = dense_cfg(f"nyuv2_{classes}", classes, test="test")
    check_data(cfg)
    records = DatasetCatalog.get(f"nyuv2_{classes}_train")
    assert [r["image_id"] for r in records] == [2, 3, 5]
    sample = sample_of(cfg, 3)
    assert np.array_equal(sample["image"], image(2)[..., ::-1].transpose(2, 0, 1))
    assert np.array_equal(sample["depth"], depth(2))
    names = MetadataCatalog.get(f"nyuv2_{classes}_train").stuff_classes
    assert len(names) == classes
    expected = np.where(FLOOR, names.index("floor"), names.index("wall"))
    expected[0, 0] = none
    assert np.array_equal(sample["sem_seg"], expected)


def test_official_normals_are_computed_from_depth(official, tmp_path):
    cfg = dense_cfg("nyuv2_13", 13, test="test")
    sample = sample_of(cfg, 2)
    assert sample["normals"].shape == (3, 24, 32)
    assert sample["normals"][2, 5, 16] < 0  # towards the camera
    rehearsal.rehearse(cfg)


def test_the_splits_share_no_image_although_they_share_a_file(official, caplog):
    check_data(dense_cfg("nyuv2_13", 13, test="test"))
    assert "are trained on as well" not in caplog.text
    check_data(dense_cfg("nyuv2_13", 13, test="train"))
    assert "3 of its images are trained on as well" in caplog.text


@pytest.mark.parametrize("file", ["nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"])
def test_official_files_that_are_missing_or_cut_off_are_one_line(official, file):
    whole = (official / file).read_bytes()
    (official / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=file) as error:
        check_data(dense_cfg("nyuv2_13", 13, test="train"))
    assert len(str(error.value).splitlines()) == 1
    (official / file).unlink()
    with pytest.raises(DataError, match=rf"{file} is missing"):
        DatasetCatalog.get("nyuv2_40_test")


def test_official_files_of_another_download_are_refused(official):
    savemat(official / "splits.mat", {"trainNdxs": np.array([[6]]), "testNdxs": np.array([[1]])})
    with pytest.raises(DataError, match=r"trainNdxs must be numbers from 1 to 5, .* found \[6\]"):
        DatasetCatalog.get("nyuv2_13_train")
    save_73(
        official / "nyu_depth_v2_labeled.mat",
        {"images": np.zeros((4, 6, 3, 2), np.uint8), "depths": np.zeros((4, 6, 3)), "labels": np.zeros((4, 6, 2))},
    )
    with pytest.raises(DataError, match=r"images is \(4, 6, 3, 2\) and depths is \(4, 6, 3\)"):
        DatasetCatalog.get("nyuv2_13_test")


@pytest.mark.parametrize("archive", ["astmt", "survey"])
@pytest.mark.parametrize(("name", "classes", "shift"), [("nyud_mt", 40, 0), ("nyud_mt_41", 41, 1)])
def test_both_archives_that_are_called_nyud_mt(tmp_path, archive, name, classes, shift):
    write_nyud_mt(tmp_path, archive)
    register_all(str(tmp_path))
    cfg = dense_cfg(name, classes)
    check_data(cfg)
    records = DatasetCatalog.get(f"{name}_train")
    assert [r["image_id"] for r in records] == ["0003", "0001"]
    sample = sample_of(cfg, "0001")
    expected = np.where(FLOOR, 1, 0) + shift
    expected[0, 0] = 255 if classes == 40 else 0
    assert np.array_equal(sample["sem_seg"], expected)
    assert np.array_equal(sample["depth"], depth(1))
    away_from_edges = np.s_[:, 20:, :]  # JPEG mixes its neighbours
    np.testing.assert_allclose(
        sample["normals"][away_from_edges], normals().transpose(2, 0, 1)[away_from_edges], atol=0.02
    )


def test_the_two_archives_are_not_mixed_up(tmp_path):
    write_nyud_mt(tmp_path, "astmt")
    write_nyud_mt(tmp_path, "survey")
    register_all(str(tmp_path))
    with pytest.raises(DataError, match=r"segmentation must hold \.png or \.mat files, found several of them"):
        DatasetCatalog.get("nyud_mt_train")
    (tmp_path / "NYUD_MT" / "gt_sets" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt not found: unpack NYUD_MT's gt_sets there"):
        DatasetCatalog.get("nyud_mt_val")


def test_archive_that_lacks_files_of_one_task(tmp_path):
    write_nyud_mt(tmp_path, "survey")
    register_all(str(tmp_path))
    (tmp_path / "NYUD_MT" / "depth" / "0001.npy").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files of .*/depth are missing, the first is .*/0001\.npy"):
        DatasetCatalog.get("nyud_mt_train")


def test_names_of_classes_are_as_many_as_they_are():
    assert (len(set(CLASSES_13)), len(set(CLASSES_40)), len(OF_13), set(OF_13)) == (13, 40, 40, set(range(1, 14)))


@pytest.mark.data
def test_tables_agree_with_the_published_ones_and_with_real_label_maps(real_data):
    nyu = real_data / "nyuv2_mini"
    assert tuple(loadmat(nyu / "meta" / "class13Mapping.mat")["classMapping13"]["labels13"][0, 0][0].tolist()) == OF_13
    of_40 = loadmat(nyu / "meta" / "classMapping40.mat")["mapClass"][0]
    names = [str(name[0]) for name in loadmat(nyu / "meta" / "classMapping40.mat")["allClassName"][0]]
    number = names.index("night stand") + 1
    tables = {count: table(of_40) for count, (_, table) in CLASSES.items()}
    assert CLASSES_40[tables[40][number]] == "night stand"
    assert CLASSES_13[tables[13][number]] == "furniture"
    assert tables[14][number] == tables[13][number] + 1
    assert [len(table) for table in tables.values()] == [895] * 3
    for image_name in ("0433.png", "0464.png"):
        forty = cv2.imread(str(nyu / "label40" / image_name), cv2.IMREAD_UNCHANGED)
        thirteen = cv2.imread(str(nyu / "label13" / image_name), cv2.IMREAD_UNCHANGED)
        both = (forty != 255) & (thirteen != 0)
        assert (np.array(OF_13)[forty[both]] == thirteen[both]).mean() > 0.98
