"""MTAN's arrays of NYUv2 and Cityscapes, and the sample scenes in that layout: records, samples, mistakes, pictures."""

import re

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy.io import savemat

from mtl_d2.config import add_mtl_config
from mtl_d2.data import DataError, MultiTaskMapper, build_train_loader, check_data, register_all
from mtl_d2.evaluation import rehearsal
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.palette import Palette
from mtl_d2.tasks.registry import kinds_of

from .tiny_dense import depth, image, labels, normals, write_mtan

pytestmark = pytest.mark.usefixtures("forgotten")
TASKS = ["semantic", "depth", "normals"]


def dense_cfg(name, classes, tasks=TASKS, test="val"):
    cfg = get_cfg()
    add_mtl_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MultiTaskFCOS"
    cfg.MTL.TASKS = tasks
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (f"{name}_train",), (f"{name}_{test}",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.RANDOM_FLIP = (24,), 24, "none"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = classes
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SEED = 1
    return cfg


@pytest.fixture
def nyu(tmp_path):
    write_mtan(tmp_path / "nyuv2", {"train": 11, "val": 2}, classes=(4, 11))
    register_all(str(tmp_path))
    return tmp_path / "nyuv2"


def test_records_are_in_the_order_of_their_numbers(nyu):
    records = DatasetCatalog.get("nyuv2_mtan_train")
    assert [r["image_id"] for r in records] == [str(i) for i in range(11)]
    assert records[10]["depth_file_name"] == str(nyu / "train" / "depth" / "10.npy")


def test_a_sample_is_what_the_arrays_hold(nyu):
    cfg = dense_cfg("nyuv2_mtan", 13)
    check_data(cfg)
    sample = MultiTaskMapper(cfg, True)(DatasetCatalog.get("nyuv2_mtan_train")[3])
    assert np.array_equal(sample["image"], image(3)[..., ::-1].transpose(2, 0, 1))
    assert np.array_equal(sample["sem_seg"], np.where(labels(4, 11) < 0, 255, labels(4, 11)))
    assert np.array_equal(sample["depth"], depth(3))
    np.testing.assert_allclose(sample["normals"], normals().transpose(2, 0, 1), atol=1e-6)
    assert len(next(iter(build_train_loader(cfg)))) == 2


def test_the_same_layout_with_the_19_classes_of_sample_scenes(tmp_path):
    write_mtan(tmp_path / "nyuv2", {"train": 2, "val": 1}, classes=(0, 18))
    register_all(str(tmp_path))
    check_data(dense_cfg("sample_scenes_nyu", 19))
    with pytest.raises(DataError, match=r"holds the ids \[18\]"):
        check_data(dense_cfg("nyuv2_mtan", 13))


def test_evaluation_and_pictures_read_the_arrays(nyu):
    cfg = dense_cfg("nyuv2_mtan", 13)
    rehearsal.rehearse(cfg)
    record, metadata = DatasetCatalog.get("nyuv2_mtan_val")[0], MetadataCatalog.get("nyuv2_mtan_val")
    canvas = Canvas(image(0), Palette([metadata]), 0.5)
    for kind in kinds_of(cfg.MTL.TASKS):
        kind.draw_truth(canvas, record, metadata)


@pytest.mark.parametrize(
    ("folder", "tasks", "depth_unit"),
    [("label_7", 7, "disparity / 65535"), ("label", 7, "disparity / 65535"), ("label_19", 19, "disparity / 65535")],
)
def test_cityscapes_arrays_keep_their_disparity_as_stored(tmp_path, folder, tasks, depth_unit):
    write_mtan(tmp_path / "cityscapes", {"train": 2, "val": 1}, (0, 4), ("image", "depth", folder))
    register_all(str(tmp_path))
    cfg = dense_cfg(f"cityscapes_mtan_{tasks}", tasks, ["semantic", "depth"])
    check_data(cfg)
    assert MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).depth_unit == depth_unit
    records = build_train_loader(cfg).dataset._records
    assert np.array_equal(MultiTaskMapper(cfg, True)(records[1])["depth"], depth(1))


def test_files_of_one_task_that_are_missing_are_counted(nyu):
    for i in (3, 7):
        (nyu / "train" / "depth" / f"{i}.npy").unlink()
    (nyu / "train" / "normal" / "0.npy").unlink()
    with pytest.raises(DataError) as error:
        check_data(dense_cfg("nyuv2_mtan", 13))
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert f"2 of 11 files of {nyu}/train/depth are missing, the first is {nyu}/train/depth/3.npy" in lines[0]
    assert "1 of 11 files of" in lines[1]


def test_a_folder_that_is_not_there_labels_nothing(nyu):
    for path in (nyu / "train" / "normal").iterdir():
        path.unlink()
    (nyu / "train" / "normal").rmdir()
    assert "normals_file_name" not in DatasetCatalog.get("nyuv2_mtan_train")[0]
    check_data(dense_cfg("nyuv2_mtan", 13, ["semantic", "depth"]))
    with pytest.raises(DataError, match="normals"):
        check_data(dense_cfg("nyuv2_mtan", 13))


def test_without_images_the_variable_of_the_root_is_named(tmp_path):
    register_all(str(tmp_path))
    with pytest.raises(DataError, match=r"nyuv2/train/image not found \(\$DETECTRON2_DATASETS"):
        DatasetCatalog.get("nyuv2_mtan_train")


@pytest.mark.parametrize(
    ("kind", "array", "said"),
    [
        ("image", np.zeros((24, 30, 3)), "label maps have another size than their image"),
        ("image", np.full((24, 32, 3), 255.0), r"1\.npy: the floats of an image are from 0 to 1, .* from 255 to 255"),
        ("image", np.full((24, 32, 3), np.nan), "these are from nan to nan"),
        ("image", np.zeros((24, 32, 3), np.uint16), r"are no images, the first is .*1\.npy, \(24, 32, 3\) of uint16"),
        ("label", np.zeros((12, 32)), "label maps have another size than their image"),
        ("label", np.full((24, 32), 255, np.float32), "hold nothing but the ignored id"),
        ("label", np.full((24, 32), 0.5), "floats that are no whole numbers"),
        ("label", np.zeros((24, 32, 3)), r"are not one 8-bit channel of class ids, .* \(24, 32, 3\) of float64"),
        ("depth", np.full((24, 32, 1), np.nan), "hold no label at all"),
        ("depth", np.ones((24, 30)), r"size \(24, 30\) \(height, width\), but its image has \(24, 32\)"),
        ("depth", np.ones((24, 32), np.uint16), "holds uint16, which depth as 'metres' is never stored in"),
        ("normal", np.zeros((24, 32, 3), np.float32), "hold no label at all"),
        ("normal", np.ones((24, 32), np.float32), "three numbers for each pixel"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 8 else "",
)
def test_arrays_of_another_form_are_one_line_before_the_training(nyu, kind, array, said):
    for i in (1,) if kind == "image" else (0, 1):
        np.save(nyu / "val" / kind / f"{i}.npy", array)
    with pytest.raises(DataError, match=said) as error:
        check_data(dense_cfg("nyuv2_mtan", 13))
    assert len(str(error.value).splitlines()) <= 3


def test_images_of_one_folder_may_differ_in_size(nyu):
    for kind in ("image", "label", "depth", "normal"):
        path = nyu / "train" / kind / "1.npy"
        np.save(path, np.load(path)[:20, :26])
    cfg = dense_cfg("nyuv2_mtan", 13)
    check_data(cfg)
    assert MultiTaskMapper(cfg, False)(DatasetCatalog.get("nyuv2_mtan_train")[1])["height"] == 20


def test_numbers_may_have_zeros_before_them(nyu):
    for path in sorted((nyu / "train").glob("*/*.npy")):
        path.rename(path.with_name(f"{int(path.stem):04}.npy"))
    records = DatasetCatalog.get("nyuv2_mtan_train")
    assert [r["image_id"] for r in records] == [f"{i:04}" for i in range(11)]
    check_data(dense_cfg("nyuv2_mtan", 13))


def test_an_array_that_is_cut_off_is_named(nyu):
    path = nyu / "train" / "label" / "1.npy"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(
        DataError, match=r"the first is /.*label/1\.npy \(it has \d+ of its \d+ bytes\): fetch the file again"
    ):
        check_data(dense_cfg("nyuv2_mtan", 13))


def test_indices_that_there_are_not_are_one_line(tmp_path, own_sets):
    savemat(tmp_path / "a.mat", {"images": np.stack([image(0)] * 2, -1), "depth": np.stack([depth(0)] * 2, -1)})
    file = f"{tmp_path}/a.mat"
    for name in ("own_train", "own_val"):
        own_sets(
            name,
            [
                {"file_name": f"{file}::images[{i}]", "image_id": i, "depth_file_name": f"{file}::depth[{i + 7}]"}
                for i in range(2)
            ],
        )
    with pytest.raises(DataError) as error:
        check_data(dense_cfg("own", 13, ["depth"]))
    line = r"a.mat::depth\[7\]: depth has 2 samples, counted from 0, .* \(the same of 2 of those looked at\)"
    assert re.search(line, str(error.value))
    assert "\n" not in str(error.value)
