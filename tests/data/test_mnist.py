"""Multi-task data sets composed of MNIST and Fashion-MNIST."""

import os
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, register_all
from mtl_d2.data.datasets import mnist
from mtl_d2.data.datasets.compose import Draws, overlap, side_by_side

from .tiny_mnist import idx_bytes, write_tiny_mnist

DOT = np.zeros((2, 28, 28), np.uint8)
DOT[0, 0, 0], DOT[1, 0, 0] = 200, 100
LABELS = np.array([3, 5], np.uint8)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_D2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "OVERLAPPING", {"train": 60, "val": 20, "test": 20})
    monkeypatch.setattr(mnist, "IMAGES_OF_A_PAIR", 2)
    write_tiny_mnist(tmp_path / "data")
    return tmp_path / "data"


def digest(found):
    return sha256(found["images"].tobytes() + found["labels"].tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multi_mnist", "017a0cc8ccb0bbb2"),
        ("multi_fashion", "b55ab0f5d46a980f"),
        ("multi_fashion_and_mnist", "7e3d0bd23f98ec72"),
        ("multi_digit_mnist", "a726db457f0653ed"),
    ],
)
def test_every_machine_makes_the_same_bytes(root, name, expected):
    assert digest(mnist.compose(str(root), name, "train")) == expected


def test_raw_words_of_the_generator_are_scaled_not_divided():
    words = np.random.Philox(key=int.from_bytes(sha256(b"x").digest()[:16], "little")).random_raw(3)
    expected = [((int(w) >> 32) * 10) >> 32 for w in words]
    assert Draws("x").below(10, 3).tolist() == expected


def test_two_images_stand_0_to_4_pixels_from_their_corners_and_their_ink_adds_up():
    images, labels = overlap((DOT[:1], LABELS[:1]), (DOT[1:], LABELS[1:]), 5000, Draws("x"), differ=True)
    assert images.shape == (5000, 36, 36)
    assert (labels == [3, 5]).all()
    first, second, both = (np.argwhere(images == value)[:, 1:] for value in (200, 100, 255))
    assert {tuple(p) for p in np.concatenate([first, both]).tolist()} == {(y, x) for y in range(5) for x in range(5)}
    assert {tuple(p) for p in np.concatenate([second, both]).tolist()} == {
        (y, x) for y in range(4, 9) for x in range(4, 9)
    }
    assert {tuple(p) for p in both.tolist()} == {(4, 4)}  # 200 + 100, clipped


def test_overlapping_digits_differ_but_a_digit_and_a_garment_need_not(root):
    left, right = mnist.compose(str(root), "multi_mnist", "train")["labels"].T
    assert (left != right).all()
    left, right = mnist.compose(str(root), "multi_fashion_and_mnist", "train")["labels"].T
    assert (left == right).any()


def test_side_by_side_keeps_each_digit_in_its_half():
    images, labels = side_by_side((DOT, np.array([0, 1], np.uint8)), [(0, 1), (1, 0)], 300, Draws("x"))
    assert labels[::300].tolist() == [[0, 1], [1, 0]]
    for value, half in ((200, labels[:, 0] == 0), (100, labels[:, 0] == 1)):
        places = np.argwhere(images[half] == value)[:, 1:]
        assert places.min(0).tolist() == [0, 0]
        assert places.max(0).tolist() == [35, 3]
        assert np.argwhere(images[~half] == value)[:, 2].min() == 32


def test_digit_pairs_are_disjoint_between_splits(root):
    found = {
        split: {tuple(p) for p in mnist.compose(str(root), "multi_digit_mnist", split)["labels"].tolist()}
        for split in mnist.SPLITS
    }
    assert {split: len(pairs) for split, pairs in found.items()} == {"train": 16, "val": 4, "test": 5}
    assert all(not a & b for a, b in pairwise([*found.values(), found["train"]]))


def test_splits_and_sets_are_different_images(root):
    found = {digest(mnist.compose(str(root), name, split)) for name in mnist.RECIPES for split in mnist.SPLITS}
    assert len(found) == len(mnist.RECIPES) * len(mnist.SPLITS)


def test_second_reading_comes_from_the_cache_and_new_files_do_not(root, tmp_path, monkeypatch):
    first = mnist.compose(str(root), "multi_mnist", "val")
    with monkeypatch.context() as context:
        context.setattr(mnist, "read_pair", None)
        assert digest(mnist.compose(str(root), "multi_mnist", "val")) == digest(first)
    write_tiny_mnist(root, each=50)
    assert digest(mnist.compose(str(root), "multi_mnist", "val")) != digest(first)
    assert sorted(p.name.split("-")[0] for p in (tmp_path / "cache").iterdir()) == ["multi_mnist_val"] * 2


def test_a_composition_that_fails_leaves_nothing_in_the_cache(root, tmp_path):
    (root / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match="t10k-labels"):
        mnist.compose(str(root), "multi_mnist", "val")
    assert not list((tmp_path / "cache").glob("*"))


def test_torchvisions_folders_and_plain_files_are_found(root, tmp_path):
    other = tmp_path / "torchvision"
    write_tiny_mnist(other, ("MNIST/raw", "FashionMNIST/raw"), zipped=False)
    for name in mnist.RECIPES:
        here, there = (mnist.compose(str(r), name, "val") for r in (root, other))
        assert digest(here) == digest(there)


def test_missing_files_are_named_with_what_belongs_where(root, tmp_path):
    (root / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"missing: train-labels-idx1-ubyte\. Put them there, or into .*MNIST/raw"):
        mnist.compose(str(root), "multi_mnist", "val")
    with pytest.raises(DataError, match="must hold the four IDX files"):
        mnist.compose(str(tmp_path / "nowhere"), "multi_fashion", "val")


def test_swapped_files_are_said_to_be_swapped(root):
    folder = root / "mnist"
    images, labels = (folder / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    os.replace(images, folder / "x")
    os.replace(labels, images)
    os.replace(folder / "x", labels)
    with pytest.raises(DataError, match="expected images, found labels: put each file under its own name"):
        mnist.compose(str(root), "multi_mnist", "train")


def test_records_are_in_the_catalog_with_image_and_classes(root):
    register_all(str(root))
    records = DatasetCatalog.get("multi_fashion_and_mnist_val")
    assert len(records) == 20
    found = mnist.compose(str(root), "multi_fashion_and_mnist", "val")
    for i, record in enumerate(records):
        assert np.array_equal(record["image"][0].numpy(), found["images"][i])
        assert [record["class_left"], record["class_right"]] == found["labels"][i].tolist()
    classes = MetadataCatalog.get("multi_fashion_and_mnist_val").classes
    assert classes["class_left"][3] == "3"
    assert classes["class_right"][9] == "ankle boot"


def test_idx_bytes_of_the_fixture_are_those_of_the_format():
    assert idx_bytes(np.array([1, 2])).hex() == "00000801000000020102"


@pytest.mark.data
def test_real_files_give_the_published_sizes(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_D2_CACHE", str(tmp_path))
    found = mnist.compose(str(real_data), "multi_digit_mnist", "val")
    assert found["images"].shape == (4_000, 64, 64)
    assert sorted(np.bincount(found["labels"] @ [5, 1]).tolist())[-5:] == [0, 1000, 1000, 1000, 1000]
    assert mnist.compose(str(real_data), "multi_mnist", "test")["images"].shape == (10_000, 36, 36)
