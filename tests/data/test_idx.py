"""IDX files: what is read, and what is said of those that cannot be."""

import gzip

import numpy as np
import pytest

from mtl_d2.data import DataError
from mtl_d2.data.datasets.idx import read_idx, read_pair

from .tiny_mnist import idx_bytes

IMAGES = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def test_bytes_written_by_hand_are_read(tmp_path):
    path = write(tmp_path, "x", bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9]))
    assert read_idx(path, 3).tolist() == [[[7, 9]]]


def test_gzipped_and_plain_files_hold_the_same(tmp_path):
    plain = write(tmp_path, "x", idx_bytes(IMAGES))
    zipped = write(tmp_path, "x.gz", gzip.compress(idx_bytes(IMAGES), mtime=0))
    assert np.array_equal(read_idx(plain, 3), IMAGES)
    assert np.array_equal(read_idx(zipped, 3), IMAGES)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x", idx_bytes(IMAGES)[:-1], "takes 2368 bytes, found 2367"),
        ("x", idx_bytes(IMAGES)[:9], "cut off within its header of 16 bytes, found 9"),
        ("x", b"", "found nothing"),
        ("x", b"<html>404</html>", "begins with 00 00 08, found 3c 68 74"),
        ("x", idx_bytes(np.arange(5)), "expected images, found labels: put each file under its own name"),
        ("x.gz", gzip.compress(idx_bytes(IMAGES), mtime=0)[:-20], "cannot be read"),
        ("x.gz", idx_bytes(IMAGES), "cannot be read"),
    ],
)
def test_wrong_file_is_named_with_what_is_wrong(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message) as error:
        read_idx(write(tmp_path, name, data), 3)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, np.array([1, 2]), "has 3 images, but .* 2 labels"),
        (IMAGES, np.array([1, 2, 10]), r"labels must be in 0..9, found 10"),
        (IMAGES[:, :20], np.array([1, 2, 3]), "must be 28 x 28, found 20 x 28"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, images, labels, message):
    with pytest.raises(DataError, match=message):
        read_pair(write(tmp_path, "i", idx_bytes(images)), write(tmp_path, "l", idx_bytes(labels)))
