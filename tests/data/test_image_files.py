"""Images of other kinds than 8-bit RGB."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from mtl_d2.data import DataError, MultiTaskMapper, check_data
from mtl_d2.data.images import read_file, read_header, read_ids

from .test_check_data import mistakes
from .test_dense_files import ORIENT, tiff

GREYS = np.linspace(0, 65535, 48 * 80).astype(np.uint16).reshape(48, 80)


@pytest.fixture
def image(tiny_root):
    """Path of a training image without its ending."""
    return tiny_root / "bdd100k/images/100k/train/det-train-1"


def put(cfg, own_sets, path):
    """Makes ``path`` the second image of a training set."""
    records = DatasetCatalog.get("bdd100k_det_train")
    records[1] = {**records[1], "file_name": str(path)}
    own_sets("own_train", records, thing_classes=list("abcdefghij"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MTL.TASKS = ("own_train",), (), ("detection",)


@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L"])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_grey_images_of_16_bits_are_divided_by_257(tmp_path, image_format, ending):
    path = str(tmp_path / f"a.{ending}")
    cv2.imwrite(path, GREYS)
    found = read_file(path, image_format)
    assert found.dtype == np.uint8
    assert np.abs(found - GREYS[..., None] / 257).max() <= 0.5
    assert (found.min(), found.max()) == (0, 255)


def test_colour_images_of_16_bits_are_what_pillow_makes_of_them(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.stack([GREYS, GREYS // 2, GREYS // 3], -1))
    assert np.array_equal(read_file(str(tmp_path / "a.png"), "BGR")[..., 0], GREYS >> 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_images_of_8_bits_and_any_mode_keep_their_grey(tmp_path, mode):
    grey = (np.arange(48 * 80) % 2 * 255).astype(np.uint8).reshape(48, 80)
    path = tmp_path / f"a.{'tiff' if mode == 'CMYK' else 'png'}"
    Image.fromarray(grey).convert("RGB").convert(mode).save(path)
    assert read_header(str(path)).mode == mode
    assert np.array_equal(read_file(str(path), "BGR"), np.stack([grey] * 3, -1))


def test_a_sample_of_a_16_bit_image_has_its_greys(cfg, image, own_sets):
    cv2.imwrite(f"{image}.png", GREYS)
    put(cfg, own_sets, f"{image}.png")
    check_data(cfg)
    seen = MultiTaskMapper(cfg, False)(DatasetCatalog.get("own_train")[1])["image"]
    assert abs(float(seen.float().mean()) - 127.5) < 1


def test_images_of_a_12_bit_camera_are_refused(cfg, image, own_sets):
    cv2.imwrite(f"{image}.png", GREYS >> 4)
    put(cfg, own_sets, f"{image}.png")
    (line,) = mistakes(cfg)
    assert line.startswith(
        "own_train: images of 16 bits, of which 65535 is white, hold 4095 at most in the 1 looked at"
    )


@pytest.mark.parametrize("pixels", [GREYS.astype(np.float32), GREYS.astype(np.int32)])
def test_images_of_32_bits_are_refused(cfg, image, own_sets, pixels):
    Image.fromarray(pixels).save(f"{image}.tiff")
    put(cfg, own_sets, f"{image}.tiff")
    (line,) = mistakes(cfg)
    assert "1 of 6 images looked at have pixels of 32 bits (Pillow's mode " in line
    with pytest.raises(DataError, match="pixels of 32 bits have no known white"):
        read_file(f"{image}.tiff", "BGR")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_images_that_cannot_be_opened_are_refused(cfg, tiny_root, content):
    path = tiny_root / "bdd100k/images/100k/val/det-val-2.jpg"
    path.write_bytes(content)
    (line,) = mistakes(cfg)
    assert line == (
        f"bdd100k_det_val: 1 of 6 images looked at cannot be opened, the first is {path}: fetch them again, or take "
        "them out of the data set"
    )


def test_an_image_that_pillow_takes_for_an_attack_is_named(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), GREYS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"cannot read image .*a\.png \(Image size"):
        read_file(str(tmp_path / "a.png"), "BGR")


def test_a_header_says_how_an_image_is_to_be_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    for ending in ("jpg", "png"):
        path = str(tmp_path / f"a.{ending}")
        Image.new("RGB", (30, 20)).save(path, exif=exif)
        header = read_header(path)
        assert (header.stored, header.size, header.orientation) == ((30, 20), (20, 30), 8)
        assert read_file(path, "RGB").shape == (30, 20, 3)


@pytest.mark.parametrize("orientation", ORIENT)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("image_format", [None, "RGB"])
def test_tiffs_are_upright_whichever_way_they_lie(tmp_path, orientation, dtype, image_format):
    stored = (np.arange(7 * 5) * 7).reshape(5, 7).astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(stored, orientation))
    wanted = ORIENT[orientation](stored)
    header, found = read_header(str(path)), read_file(str(path), image_format)
    assert (header.stored, header.orientation) == ((7, 5), orientation)
    assert header.size == wanted.shape[::-1]
    wanted = wanted if image_format is None else np.stack([wanted // (257 if dtype == np.uint16 else 1)] * 3, -1)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "CMYK"])
def test_compressed_tiffs_of_any_mode_are_upright_too(tmp_path, mode):
    image = Image.fromarray(GREYS.astype(np.uint8)).convert("RGB").convert(mode)
    image.save(tmp_path / "a.tiff", compression="tiff_lzw", tiffinfo={0x0112: 6})
    assert np.array_equal(read_file(str(tmp_path / "a.tiff"), "RGB"), np.rot90(np.asarray(image.convert("RGB")), -1))


def test_a_label_map_of_one_bit_is_0_and_1(tmp_path):
    mask = np.eye(9, dtype=bool)
    Image.fromarray(mask).save(tmp_path / "a.png")
    found = read_ids(str(tmp_path / "a.png"))
    assert found.dtype == np.uint8
    assert np.array_equal(found, mask)
