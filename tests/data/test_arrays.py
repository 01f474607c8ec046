"""Arrays at addresses in files: numpy's, MATLAB's old and new ones; as images, as label maps, damaged and missing."""

import pickle
import sys

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from mtl_d2.data.addresses import Address, file_of, names_array, parse_address, shown_name
from mtl_d2.data.arrays import read_array, read_form
from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_file, read_header, read_ids
from mtl_d2.data.listing import Listing, Paths

from .matlab_files import save_73

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 3, 5), np.uint8)  # 5 images of 6 x 4, as MATLAB shows them
CELLS = [np.full((2, 3), k, np.uint16) for k in range(3)]


def write_matlab(path, version):
    """The same variables in both formats."""
    variables = {"images": IMAGES, "gt": {"inner": {"Segmentation": IMAGES[:, :, 0, 0]}}, "cells": CELLS}
    if version == 7.3:
        save_73(path, variables)
    else:
        cells = np.empty((1, 3), object)
        cells[0, :] = CELLS
        savemat(path, {**variables, "cells": cells})
    return str(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/d/0.npy", Address("/d/0.npy")),
        ("/d/a.mat", Address("/d/a.mat")),
        ("/d/a.MAT::depths", Address("/d/a.MAT", "depths")),
        ("/d/a.mat::GTcls.Segmentation", Address("/d/a.mat", "GTcls.Segmentation")),
        ("/d/a.mat::images[1448]", Address("/d/a.mat", "images", 1448)),
    ],
)
def test_what_an_address_says(path, expected):
    assert names_array(path)
    assert parse_address(path) == expected
    assert file_of(path) == expected.file


@pytest.mark.parametrize("path", ["/d/a.png", "/d::x/a.png", "/a.mat::x/b.png", "/d/a.b::c"])
def test_paths_of_other_files_are_no_addresses(path):
    assert not names_array(path)
    assert file_of(path) == path


@pytest.mark.parametrize("inside", ["", "[3]", "a[", "a[-1]", "a[1][2]", "a..b", "a b"])
def test_what_is_no_address_is_said(inside):
    with pytest.raises(DataError, match="must be the name of an array"):
        parse_address(f"/d/a.mat::{inside}")


def test_captions_have_no_folder():
    assert shown_name("/d/a.mat::images[3]") == "a.mat::images[3]"
    assert shown_name("/d/0.npy") == "0.npy"


@pytest.mark.parametrize("version", [7, 7.3])
@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("images", IMAGES),
        ("images[4]", IMAGES[..., 4]),
        ("gt.inner.Segmentation", IMAGES[:, :, 0, 0]),
        ("cells[2]", CELLS[2]),
    ],
)
def test_matlab_arrays_are_as_matlab_shows_them(tmp_path, version, inside, expected):
    path = f"{write_matlab(tmp_path / 'a.mat', version)}::{inside}"
    found = read_array(path)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    assert read_form(path) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("version", [7, 7.3])
@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("::imgs", "has no array 'imgs'; it holds .*'images'.*: name the one that is meant"),
        ("::gt.outer", "has no array 'gt.outer'; it holds 'inner'"),
        ("::images[5]", "images has 5 samples, counted from 0, and none of this number"),
        ("::cells[3]", "cells has 3 samples"),
        ("::gt.inner", "is a struct|expected a map of numbers"),
    ],
)
def test_arrays_that_are_not_there_are_said_with_those_that_are(tmp_path, version, inside, said):
    path = write_matlab(tmp_path / "a.mat", version) + inside
    for read in (read_array, read_form):
        with pytest.raises(DataError, match=said) as error:
            read(path)
        assert "\n" not in str(error.value)


def test_the_only_array_needs_no_name(tmp_path):
    save_73(tmp_path / "new.mat", {"depth": np.ones((4, 6)), "text": {"a": np.ones((1, 1))}})
    savemat(tmp_path / "old.mat", {"depth": np.ones((4, 6)), "name": "kitchen"})
    for name in ("new.mat", "old.mat"):
        assert read_array(str(tmp_path / name)).shape == (4, 6)
        assert read_array(str(tmp_path / name), "depth").shape == (4, 6)


def test_one_sample_of_a_file_larger_than_memory_is_read_alone(tmp_path):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:  # 460 GB, of which nothing but one chunk is stored
        images = file.create_dataset("images", (500_000, 3, 640, 480), np.uint8, chunks=(1, 3, 64, 48))
        images[321_000, 2, 5, 7] = 9
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    sample = read_array(f"{path}::images[321000]")
    assert sample.shape == (480, 640, 3)
    assert sample[7, 5, 2] == 9
    assert sample.sum() == 9


def test_without_h5py_new_files_name_the_command_and_old_ones_are_read(tmp_path, monkeypatch):
    old, new = (f"{write_matlab(tmp_path / f'{version}.mat', version)}::images[0]" for version in (7, 7.3))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert read_array(old).shape == (4, 6, 3)
    with pytest.raises(DataError, match=r"format 7\.3, which is HDF5: `pip install h5py`, or save it with -v7"):
        read_array(new)


@pytest.mark.parametrize("kind", ["cut.npy", "old.mat", "new.mat", "page.mat", "none.npy", "text.npy", "row.npy"])
def test_files_that_are_no_arrays_are_one_line(tmp_path, kind):
    path = tmp_path / kind
    if kind in ("old.mat", "new.mat"):
        write_matlab(path, 7 if kind == "old.mat" else 7.3)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "page.mat":
        path.write_text("<html>404</html>")
    elif kind != "none.npy":
        np.save(path, {"cut.npy": IMAGES, "text.npy": np.array([["a"]]), "row.npy": np.arange(5)}[kind])
        if kind == "cut.npy":
            path.write_bytes(path.read_bytes()[:-1])
    name = f"{path}::images" if kind.endswith(".mat") else str(path)
    with pytest.raises(DataError) as error:
        read_array(name)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if kind != "old.mat":  # whose first bytes are whole
        assert read_header(name) is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpys_formats_and_both_orders(tmp_path, version, order):
    numbers = np.asarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4), order=order)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, numbers, version)
    assert np.array_equal(read_array(str(tmp_path / "a.npy")), numbers)
    assert read_form(str(tmp_path / "a.npy")) == ((2, 3, 4), numbers.dtype)


def test_numbers_of_another_byte_order_and_truth_values(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6, dtype=">f4").reshape(2, 3))
    found = read_array(str(tmp_path / "a.npy"))
    assert found.dtype == np.float32
    assert np.array_equal(found, np.arange(6).reshape(2, 3))
    np.save(tmp_path / "b.npy", np.eye(2, 3) > 0)
    assert np.array_equal(read_ids(str(tmp_path / "b.npy")), np.eye(2, 3))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("first", [False, True])
def test_images_of_8_bits_and_of_floats_are_the_same_again(tmp_path, dtype, first):
    every = np.arange(256, dtype=np.uint8)
    image = np.stack([every, 255 - every, every // 2], -1)[None]  # (1, 256, 3)
    image = np.concatenate([image, image[:, ::-1]])
    stored = image if dtype == "uint8" else (image.astype(dtype) / np.asarray(255, dtype))
    np.save(tmp_path / "a.npy", np.moveaxis(stored, -1, 0) if first else stored)
    path = str(tmp_path / "a.npy")
    assert read_header(path).size == (256, 2)
    for image_format, expected in (("RGB", image), ("BGR", image[..., ::-1])):
        found = read_file(path, image_format)
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)


def test_what_interpolation_left_beyond_an_image_is_cut_and_one_channel_is_grey(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-0.1, 0.5, 1.1]])[..., None])
    assert np.array_equal(read_file(str(tmp_path / "a.npy"), "BGR"), [[[0] * 3, [128] * 3, [255] * 3]])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((2, 3, 3), 128.0), "floats of an image are from 0 to 1, but these are from 128 to 128"),
        (np.full((2, 3, 3), np.nan), "these are from nan to nan"),
        (np.zeros((2, 3, 3), np.uint16), r"is \(2, 3, 3\) of uint16, but an image is"),
        (np.zeros((2, 3, 4)), r"is \(2, 3, 4\) of float64"),
        (np.zeros((2, 0, 3)), r"is \(2, 0, 3\)"),
    ],
    ids=["255", "nan", "16 bits", "4 channels", "empty"],
)
def test_arrays_that_are_no_images(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=said):
        read_file(str(tmp_path / "a.npy"), "BGR")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64"])
@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 1), (1, 2, 4)])
def test_minus_one_becomes_the_ignored_id(tmp_path, dtype, shape):
    np.save(tmp_path / "a.npy", np.array([[-1, 0, 1, 3], [12, -1, 2, 3]], dtype).reshape(shape))
    path = str(tmp_path / "a.npy")
    for ignored in (255, 13):
        found = read_ids(path, ignored=ignored)
        assert found.dtype == np.uint8
        assert np.array_equal(found, [[ignored, 0, 1, 3], [12, ignored, 2, 3]])
    assert read_header(path).may_hold_ids


def test_minus_one_that_was_stored_in_8_bits_is_255(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-1, 5]]).astype(np.uint8))
    assert np.array_equal(read_ids(str(tmp_path / "a.npy")), [[255, 5]])


def test_a_table_may_be_of_more_than_256_values(tmp_path):
    table = bytes(range(200)) + bytes([7] * 695)
    labels = np.array([[0, 199, 200], [894, 5, 894]], np.uint16)
    np.save(tmp_path / "a.npy", labels)
    assert np.array_equal(read_ids(str(tmp_path / "a.npy"), table), [[0, 199, 7], [7, 5, 7]])
    np.save(tmp_path / "b.npy", labels.astype(np.float32) - 1)  # of which one is -1
    assert np.array_equal(read_ids(str(tmp_path / "b.npy"), table, 255), [[255, 198, 199], [7, 4, 7]])


@pytest.mark.parametrize(
    ("array", "table", "said"),
    [
        (np.array([[0.5, 1]]), None, "no whole numbers"),
        (np.array([[np.nan, 1]]), None, "no whole numbers"),
        (np.array([[300, 1]]), None, "holds the values 1 to 300, beyond -1"),
        (np.array([[-2, 1]]), None, "holds the values -2 to 1"),
        (np.array([[895, 1]], np.uint16), bytes(895), "the 895 entries of its `sem_seg_table`"),
        (np.zeros((2, 3, 3)), None, r"is \(2, 3, 3\) of float64, but a label map is \(H, W\)"),
    ],
)
def test_arrays_that_are_no_label_maps(tmp_path, array, table, said):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=said):
        read_ids(str(tmp_path / "a.npy"), table)


def test_listings_look_for_the_file_and_tell_its_samples_apart(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mat").touch()
    (tmp_path / "a.mat").symlink_to(tmp_path / "real" / "a.mat")
    names = [f"{tmp_path}/a.mat::images[{i}]" for i in range(3)] + [f"{tmp_path}/b.mat::images[0]"]
    listing = Listing()
    assert listing.absent(Paths(names)) == names[3:]
    places = listing.places(Paths(names[:3]))
    assert places[str(tmp_path / "real")] == {f"a.mat::images[{i}]" for i in range(3)}
    assert pickle.loads(pickle.dumps(parse_address(names[1]))) == parse_address(names[1])


@pytest.mark.parametrize("version", [7, 7.3])
def test_one_of_several_structs_is_named_by_its_number(tmp_path, version):
    path = tmp_path / "a.mat"
    if version == 7.3:  # which has a struct of cells instead
        save_73(path, {"seg": {"label": CELLS}})
    else:
        structs = np.empty((1, 3), [("label", object)])
        structs["label"][0, :] = CELLS
        savemat(path, {"seg": structs})
    assert np.array_equal(read_array(f"{path}::seg.label[2]"), CELLS[2])
    with pytest.raises(DataError, match=r"\(1, 3\) of object: name one of its cells, such as NAME\[0\]"):
        read_form(f"{path}::seg.label")


def test_matlabs_sparse_matrices_have_their_zeros(tmp_path):
    ids = np.array([[0, 3, 0], [2, 0, 0]], float)
    savemat(tmp_path / "a.mat", {"ids": csc_matrix(ids)})
    assert np.array_equal(read_ids(f"{tmp_path}/a.mat::ids"), ids)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 3), (4, 1, 3), (4, 5, 3)])
@pytest.mark.parametrize("kind", ["u1", "f2", "f4", "f8", "longdouble"])
def test_an_image_of_any_size_and_float_is_read(tmp_path, shape, kind):
    pixels = np.random.default_rng(0).choice(np.array([0, 255, 51], np.uint8), shape)
    np.save(tmp_path / "a.npy", pixels if kind == "u1" else (pixels / 255).astype(kind))
    assert np.array_equal(read_file(f"{tmp_path}/a.npy", "RGB"), pixels)


def test_a_table_that_is_no_bytes_is_one_line(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match=r"a.npy: its `sem_seg_table` must be bytes, .* found list: correct the reader"):
        read_ids(f"{tmp_path}/a.npy", [255, 0])


def test_an_npy_holds_no_names(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match=r"a.npy::depth\[0\]: an .npy holds one array, which has no name"):
        read_form(f"{tmp_path}/a.npy::depth[0]")
