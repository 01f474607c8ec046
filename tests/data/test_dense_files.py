"""Depth and normals from files: encodings, kinds of images that Pillow and OpenCV read differently, damaged files."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mtl_d2.data.dense_files import depth_encoding, read_depth, read_normals
from mtl_d2.data.errors import DataError

from .matlab_files import save_73

STORED = (np.arange(24).reshape(4, 6) * 2700).astype(np.uint16)  # 0 .. 62100
ORIENT = {1: lambda a: a, 3: lambda a: a[::-1, ::-1], 5: lambda a: a.T, 6: lambda a: np.rot90(a, -1)}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, *, color=0, interlaced=False, extra=()):
    """A PNG of the bits of ``pixels``, with further chunks before its pixels."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [pixels]
    rows = [row for part in parts if part.size for row in part]
    raw = b"".join(b"\0" + np.ascontiguousarray(row).astype(row.dtype.newbyteorder(">")).tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, color, 0, 0, int(interlaced))
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def tiff(pixels, orientation):
    """A plain TIFF as cameras and scanners write it: one strip, not compressed."""
    data = pixels.tobytes()
    kind = 3 if pixels.dtype.kind == "f" else 1
    tags = {256: pixels.shape[1], 257: pixels.shape[0], 258: 8 * pixels.itemsize, 259: 1, 262: 1, 273: 8}
    tags |= {274: orientation, 277: 1, 278: pixels.shape[0], 279: len(data), 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def exif_chunk(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("millimetres", STORED / 1000),
        ("kitti", STORED / 256),
        ("cityscapes_disparity", np.where(STORED > 0, (STORED - 1.0) / 256, 0)),
        ("cityscapes_raw", STORED / 65535),
        (0.25, STORED / 4),
        ("0.25", STORED / 4),
    ],
)
def test_depth_of_16_bits_by_encoding(tmp_path, name, expected):
    cv2.imwrite(str(tmp_path / "a.png"), STORED)
    found, odd = read_depth(str(tmp_path / "a.png"), depth_encoding(name))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert odd == 0


def test_mtan_arrays_are_the_disparity_of_the_png(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), STORED)
    np.save(tmp_path / "a.npy", (STORED / 65535)[..., None])
    official = read_depth(str(tmp_path / "a.png"), depth_encoding("cityscapes_disparity"))
    prepared = read_depth(str(tmp_path / "a.npy"), depth_encoding("mtan_disparity"))
    np.testing.assert_allclose(prepared.values, official.values, rtol=1e-6)


def test_raw_disparity_is_what_mtan_stored_to_the_last_bit(tmp_path):
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "a.png"), every)
    stored = np.divide(every, 65535, dtype=np.float32)  # as matplotlib's imread gives 16 bits
    np.save(tmp_path / "a.npy", stored)
    assert np.array_equal(read_depth(str(tmp_path / "a.png"), depth_encoding("cityscapes_raw")).values, stored)
    assert np.array_equal(read_depth(str(tmp_path / "a.npy"), depth_encoding(1.0)).values, stored)


def test_sun_rgbd_has_the_lowest_bits_on_top_and_ends_at_8_metres(tmp_path):
    millimetres = np.array([[0, 1, 2345, 7999, 8000, 8001, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), (millimetres << 3) | (millimetres >> 13))
    found, odd = read_depth(str(tmp_path / "a.png"), depth_encoding("sun_rgbd"))
    np.testing.assert_allclose(found, [[0, 0.001, 2.345, 7.999, 8, 8, 8]], rtol=1e-6)
    assert odd == 0


@pytest.mark.parametrize(
    "name", ["millimetres", "kitti", "cityscapes_disparity", "cityscapes_raw", "sun_rgbd", 0.1, 1e36]
)
def test_large_maps_have_the_depth_of_small_ones(tmp_path, name):
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "small.png"), every)
    cv2.imwrite(str(tmp_path / "large.png"), np.concatenate([every, every]))
    small, large = (read_depth(f"{tmp_path}/{size}.png", depth_encoding(name)) for size in ("small", "large"))
    assert np.array_equal(large.values, np.concatenate([small.values, small.values]))
    assert large.values.dtype == small.values.dtype
    assert large.odd == 2 * small.odd


def test_maps_at_addresses_in_one_file(tmp_path):
    metres = np.random.default_rng(0).uniform(1, 9, (4, 6, 3)).astype(np.float32)
    normals = np.stack([some_normals()] * 3, -1)
    normals[0, 0] = 0
    save_73(tmp_path / "a.mat", {"depths": metres, "norms": normals})
    found = read_depth(f"{tmp_path}/a.mat::depths[1]", depth_encoding("metres"))
    assert np.array_equal(found.values, metres[..., 1])
    vectors, odd = read_normals(f"{tmp_path}/a.mat::norms[2]", "another")
    np.testing.assert_allclose(vectors, normals[..., 2], atol=1e-7)
    assert odd == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"interlaced": True},
        {"extra": [(b"gAMA", struct.pack(">I", 45455))]},
        {"extra": [(b"sBIT", b"\x0c")]},
        {"extra": [(b"tRNS", struct.pack(">H", 2700))]},
        {"extra": [(b"iCCP", b"x\0\0" + zlib.compress(bytes(200)))]},
    ],
    ids=["plain", "interlaced", "gamma", "significant-bits", "transparent-value", "profile"],
)
def test_numbers_of_a_png_are_never_made_light(tmp_path, options):
    (tmp_path / "a.png").write_bytes(png(STORED, **options))
    found, _ = read_depth(str(tmp_path / "a.png"), depth_encoding(1.0))
    assert np.array_equal(found, STORED)


@pytest.mark.parametrize("orientation", ORIENT)
@pytest.mark.parametrize("kind", ["png", "uint16 tiff", "float32 tiff"])
def test_depth_is_upright(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind[-4:].strip()}"
    if kind == "png":
        path.write_bytes(png(STORED, extra=[exif_chunk(orientation)]))
    else:
        path.write_bytes(tiff(STORED.astype(kind.split()[0]), orientation))
    found, _ = read_depth(str(path), depth_encoding(1.0))
    assert np.array_equal(found, ORIENT[orientation](STORED))


@pytest.mark.parametrize("dtype", [">u2", "<u2", "int32", "float32"])
def test_tiffs_of_any_byte_order(tmp_path, dtype):
    Image.fromarray(STORED.astype(dtype)).save(tmp_path / "a.tiff")
    found, _ = read_depth(str(tmp_path / "a.tiff"), depth_encoding(1.0))
    assert np.array_equal(found, STORED)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (1, 4, 6)])
def test_arrays_and_what_cannot_be_a_depth(tmp_path, shape):
    metres = np.linspace(1, 9, 24).reshape(4, 6)
    metres[0, :4] = [np.nan, np.inf, -2, 0]
    np.save(tmp_path / "a.npy", metres.reshape(shape))
    found, odd = read_depth(str(tmp_path / "a.npy"), depth_encoding("metres"))
    assert (found[0, :4] == 0).all()
    np.testing.assert_allclose(found[1:], metres[1:], rtol=1e-7)
    assert odd == 3


def test_matlab_files_by_key_or_their_only_map(tmp_path):
    path, metres = str(tmp_path / "a.mat"), np.ones((4, 6))
    savemat(path, {"depth": metres, "name": "kitchen"})
    for key in ("", "depth"):
        assert (read_depth(path, depth_encoding("metres"), key).values == 1).all()
    with pytest.raises(DataError, match=r"has no array 'z'; it holds 'depth', 'name': name the one"):
        read_depth(path, depth_encoding("metres"), "z")
    savemat(path, {"depth": metres, "normals": np.ones((4, 6, 3))})
    with pytest.raises(DataError, match="has 2 arrays of numbers"):
        read_depth(path, depth_encoding("metres"))
    (tmp_path / "b.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(500))
    with pytest.raises(DataError, match="cannot read"):
        read_depth(str(tmp_path / "b.mat"), depth_encoding("metres"))


@pytest.mark.parametrize("name", ["feet", "-1", "0", "nan", None])
def test_unknown_encodings(name):
    with pytest.raises(DataError, match="encoding of depth must be one of 'metres', 'millimetres'"):
        depth_encoding(name)


def write(folder, kind):
    """A file that is no depth map in millimetres."""
    files = {
        "8 bits.png": png((STORED >> 8).astype(np.uint8)),
        "colours.png": png(np.stack([STORED] * 3, -1), color=2),
        "colours of 8 bits.png": png(np.zeros((4, 6, 3), np.uint8), color=2),
        "alpha.png": png(np.stack([STORED] * 2, -1), color=4),
        "palette.png": png(np.zeros((4, 6), np.uint8), color=3, extra=[(b"PLTE", bytes(30))]),
        "cut off.png": png(STORED)[:60],
        "web page.png": b"<html>404</html>",
        "empty.npy": b"",
        "scaled.pgm": b"P5\n6 4\n62100\n" + STORED.astype(">u2").tobytes(),
        "damaged.mat": b"MATLAB 5.0 MAT-file" + bytes(range(200)),
    }
    arrays = {
        "objects.npy": np.array([[{}]], dtype=object),
        "one row.npy": np.zeros(24),
        "nothing.npy": np.zeros((0, 6)),
        "complex.npy": np.zeros((4, 6), complex),
        "vectors.npy": np.zeros((4, 6, 3)),
        "8 bits.npy": np.zeros((4, 6), np.uint8),
    }
    path = folder / kind
    if kind in arrays:
        np.save(path, arrays[kind], allow_pickle=True)
    elif kind in files:
        path.write_bytes(files[kind])
    elif kind == "cut off.npy":
        np.save(path, STORED)
        path.write_bytes(path.read_bytes()[:-9])
    return str(path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("8 bits.png", "holds uint8, which depth as 'millimetres' is never stored in"),
        ("8 bits.npy", "holds uint8"),
        ("colours.png", "is an image of several channels"),
        ("colours of 8 bits.png", r"\(4, 6, 3\) of uint8"),
        ("alpha.png", "is an image of several channels"),
        ("palette.png", "is an image of colours from a palette"),
        ("cut off.png", "cannot read"),
        ("web page.png", "cannot read"),
        ("missing.png", "cannot read"),
        ("empty.npy", "cannot read"),
        ("cut off.npy", "cannot read"),
        ("objects.npy", "cannot read"),
        ("damaged.mat", "cannot read"),
        ("one row.npy", r"expected a map of numbers, found \(24,\)"),
        ("nothing.npy", r"\(0, 6\)"),
        ("complex.npy", "complex128"),
        ("vectors.npy", r"\(4, 6, 3\)"),
        ("scaled.pgm", "is a PPM"),
    ],
)
def test_files_that_are_no_depth_map_are_said_in_one_line(tmp_path, kind, said):
    path = write(tmp_path, kind)
    with pytest.raises(DataError, match=said) as error:
        read_depth(path, depth_encoding("millimetres"))
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_whole_metres_are_taken_for_another_encoding(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), STORED)
    with pytest.raises(DataError, match="holds uint16, which depth as 'metres' is never stored in"):
        read_depth(str(tmp_path / "a.png"), depth_encoding("metres"))


def some_normals(shape=(4, 6)):
    vectors = np.random.default_rng(0).normal(size=(*shape, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("form", ["last.npy", "first.npy", "a.mat"])
def test_normals_of_arrays_are_unit_vectors(tmp_path, form):
    normals = some_normals()
    normals[0, 0], normals[0, 1], normals[0, 2] = 0, np.nan, normals[0, 2] * 3
    path = tmp_path / form
    if form == "a.mat":
        savemat(path, {"norms": normals})
    else:
        np.save(path, normals if form == "last.npy" else np.moveaxis(normals, -1, 0))
    found, odd = read_normals(str(path))
    expected = some_normals()
    expected[0, :2] = 0
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert odd == 2  # the one that is not finite, and the one of length 3


@pytest.mark.parametrize("ending", ["png", "npy"])
def test_normals_of_8_bits(tmp_path, ending):
    coded = np.rint((some_normals() + 1) * 127.5).astype(np.uint8)
    coded[0, 0], coded[0, 1], coded[0, 2] = 127, 128, 0  # grey and black are no label
    if ending == "png":
        Image.fromarray(coded).save(tmp_path / "a.png")
    else:
        np.save(tmp_path / "a.npy", coded)
    found, odd = read_normals(str(tmp_path / f"a.{ending}"))
    assert (found[0, :3] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found[1:], axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[1:], some_normals()[1:], atol=0.01)
    assert odd == 0


def test_normals_of_another_frame_are_turned(tmp_path):
    np.save(tmp_path / "a.npy", some_normals())
    found, _ = read_normals(str(tmp_path / "a.npy"), axes="+x +z -y")  # to the right, forward, up
    expected = np.stack([some_normals()[..., 0], -some_normals()[..., 2], some_normals()[..., 1]], -1)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("axes", ["x y z", "+x +y", "+x +x +z", "", (1, -1, -1)])
def test_axes_that_are_none(tmp_path, axes):
    np.save(tmp_path / "a.npy", some_normals())
    with pytest.raises(DataError, match="`normals_axes` must say of each of three numbers which way it counts"):
        read_normals(str(tmp_path / "a.npy"), axes=axes)


@pytest.mark.data
def test_real_normals_of_nyu_are_those_of_its_depth(real_data):
    folder = real_data / "nyuv2_mini"
    normals, odd = read_normals(str(folder / "normal/0433.png"), axes="+x +z -y")
    depth = read_depth(str(folder / "depth_mm/0433.png"), depth_encoding("millimetres")).values
    assert odd == 0
    assert 2 < np.median(depth[depth > 0]) < 4
    y, x = np.mgrid[: depth.shape[0], : depth.shape[1]] + 0.5
    points = np.stack([(x - 325.58) / 518.86, (y - 253.74) / 519.47, np.ones_like(x)], -1) * depth[..., None]
    right, down = points[5:-5, 10:] - points[5:-5, :-10], points[10:, 5:-5] - points[:-10, 5:-5]
    expected = np.cross(down, right)
    expected /= np.maximum(np.linalg.norm(expected, axis=-1, keepdims=True), 1e-9)
    labelled = normals[5:-5, 5:-5].any(-1) & (depth[5:-5, 5:-5] > 0)
    cosine = (normals[5:-5, 5:-5] * expected).sum(-1)[labelled]
    assert 0.5 < labelled.mean() < 0.95
    assert np.median(cosine) > np.cos(np.radians(20))  # of any other axes, or other signs, it is below 0.3


@pytest.mark.parametrize("array", [np.zeros((4, 6)), np.zeros((4, 6, 4)), np.zeros((4, 6, 3), np.uint16)])
def test_maps_that_are_no_normals(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match="a map of normals has three numbers for each pixel"):
        read_normals(str(tmp_path / "a.npy"))


def test_depth_beyond_single_precision_is_no_label_and_a_text_is_no_image(tmp_path):
    np.save(tmp_path / "far.npy", np.array([[2.0, 1e300, np.inf, np.nan]]))
    label = read_depth(str(tmp_path / "far.npy"), depth_encoding("metres"))
    assert label.values.tolist() == [[2.0, 0.0, 0.0, 0.0]]
    assert label.odd == 3
    (tmp_path / "text.png").write_text("this is a text")
    with pytest.raises(DataError, match=r"text\.png \(no image\): fetch the file again"):
        read_depth(str(tmp_path / "text.png"), depth_encoding("millimetres"))
