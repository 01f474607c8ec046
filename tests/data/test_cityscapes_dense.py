"""Cityscapes' dense tasks from the official files: categories, raw disparity, parts of the size."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from mtl_d2.data import DataError, MultiTaskMapper, check_data, register_all
from mtl_d2.data.addresses import file_of, shrinking
from mtl_d2.data.datasets.cityscapes import LABEL_IDS
from mtl_d2.data.datasets.cityscapes_categories import CATEGORIES, category_table
from mtl_d2.data.image_size import stored_size
from mtl_d2.data.images import read_file, read_header, read_ids
from mtl_d2.data.loader import training_records
from mtl_d2.evaluation import rehearsal

from .test_mtan import dense_cfg
from .tiny_cityscapes import HEIGHT, WIDTH, instance_ids, label_ids, write_tiny_cityscapes

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def root(tmp_path):
    write_tiny_cityscapes(tmp_path)
    register_all(str(tmp_path))
    return tmp_path / "cityscapes"


def first_sample(cfg):
    return MultiTaskMapper(cfg, True)(training_records(cfg, cfg.DATASETS.TRAIN[0])[0])


def test_the_7_categories_and_mtans_values_of_disparity(root):
    cfg = dense_cfg("cityscapes_dense_7", 7, ["semantic", "depth"])
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (HEIGHT,), HEIGHT
    check_data(cfg)
    rehearsal.rehearse(cfg)
    sample, ids = first_sample(cfg), label_ids(instance_ids())
    assert np.array_equal(sample["sem_seg"], np.frombuffer(category_table(), np.uint8)[ids])
    stored = np.divide(np.where(ids == 23, 0, 1281), 65535, dtype=np.float32)
    assert np.array_equal(sample["depth"], stored)


@pytest.mark.parametrize(("ending", "factor"), [("_half", 2), ("_quarter", 4), ("_eighth", 8)])
def test_parts_of_the_size_are_means_of_images_and_single_pixels_of_labels(root, ending, factor):
    cfg = dense_cfg(f"cityscapes_dense_19{ending}", 19, ["semantic", "depth"])
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (HEIGHT // factor,), HEIGHT // factor
    check_data(cfg)
    rehearsal.rehearse(cfg)
    sample, ids = first_sample(cfg), label_ids(instance_ids())
    middles = ids[factor // 2 :: factor, factor // 2 :: factor]
    train_ids = [LABEL_IDS.index(value) if value in LABEL_IDS else 255 for value in middles.reshape(-1).tolist()]
    assert np.array_equal(sample["sem_seg"], np.reshape(train_ids, middles.shape))
    assert sample["depth"].shape == middles.shape
    means = (ids.astype(float) * 7).reshape(HEIGHT // factor, factor, WIDTH // factor, factor).mean((1, 3))
    assert np.abs(sample["image"][0].numpy() - means).max() <= 0.5


def test_what_a_shrunk_address_says(tmp_path):
    assert shrinking("/d/a.png::shrunk[8]") == ("/d/a.png", 8)
    assert file_of("/d/a.JPG::shrunk[2]") == "/d/a.JPG"
    assert shrinking("/d/a.jpeg::shrunk[2]") == ("/d/a.jpeg", 2)
    assert shrinking("/d/a.png") == ("/d/a.png", 1)
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(tmp_path / "a.png")
    path = f"{tmp_path}/a.png::shrunk[2]"
    assert stored_size(path) == (3, 2)
    assert np.array_equal(read_ids(path), [[7, 9, 11], [19, 21, 23]])
    assert read_file(path, "L").shape == (2, 3, 1)
    assert read_header(f"{tmp_path}/a.png::shrunk[0]").size == (0, 0)  # which no map has: said when it is read
    with pytest.raises(DataError, match=r"4 x 6 \(height, width\) cannot be divided by 4"):
        read_file(f"{tmp_path}/a.png::shrunk[4]", "RGB")


def test_disparities_that_are_missing_are_counted_and_all_of_them_may_be(root):
    (root / "disparity" / "train" / "here" / "here_000001_000019_disparity.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files of .*/disparity/train/here are missing, the first is"):
        DatasetCatalog.get("cityscapes_dense_7_eighth_train")
    (root / "disparity").rename(root / "elsewhere")
    assert "depth_file_name" not in DatasetCatalog.get("cityscapes_dense_19_train")[0]


def test_every_label_that_is_evaluated_has_its_category():
    table = category_table()
    assert len(CATEGORIES) == 7
    assert [CATEGORIES[table[value]] for value in (7, 11, 17, 21, 23, 24, 26)] == list(CATEGORIES)
    assert all(table[value] != 255 for value in LABEL_IDS)
    assert {table[value] for value in range(7)} == {255}


def test_mtans_arrays_made_of_the_official_files_are_the_same_samples(root, tmp_path):
    for split, city in (("train", "here"), ("val", "there")):
        for i in range(2):
            stem = f"{city}/{city}_{i:06d}_000019"
            image = cv2.imread(str(root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png"))[..., ::-1]
            ids = cv2.imread(str(root / "gtFine" / split / f"{stem}_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED)
            disparity = cv2.imread(str(root / "disparity" / split / f"{stem}_disparity.png"), cv2.IMREAD_UNCHANGED)
            of_7 = np.frombuffer(category_table(), np.uint8)[ids].astype(np.float64)
            of_7[of_7 == 255] = -1
            arrays = {"image": image / 255, "label_7": of_7, "depth": np.divide(disparity, 65535, dtype=np.float32)}
            for kind, array in arrays.items():
                (root / split / kind).mkdir(parents=True, exist_ok=True)
                np.save(root / split / kind / f"{i}.npy", array)
    samples = []
    for name in ("cityscapes_mtan_7", "cityscapes_dense_7"):
        cfg = dense_cfg(name, 7, ["semantic", "depth"])
        cfg.INPUT.MIN_SIZE_TRAIN = (HEIGHT,)
        samples.append(first_sample(cfg))
    for key in ("image", "sem_seg", "depth"):
        assert np.array_equal(samples[0][key], samples[1][key])
