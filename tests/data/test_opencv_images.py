"""Images that OpenCV decodes instead of Pillow, and those that it does not."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_with_pillow
from mtl_d2.data.opencv_images import decoded, read_with_opencv

GENERATOR = np.random.default_rng(0)
IDS = np.arange(61 * 47, dtype=np.uint16).reshape(47, 61).astype(np.uint8)
COLOURS = cv2.resize(GENERATOR.integers(0, 256, (9, 13, 3), np.uint8), (61, 47), interpolation=cv2.INTER_CUBIC)


def save(path, image=None, **options):
    (Image.fromarray(COLOURS) if image is None else image).save(path, **options)
    return str(path)


def apart(path, image_format):
    """Levels between the two libraries' pixels."""
    pair = read_with_opencv(path, image_format), read_with_pillow(path, image_format)
    assert pair[0].shape == pair[1].shape
    assert pair[0].dtype == pair[1].dtype
    return np.abs(pair[0].astype(int) - pair[1]).max()


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
@pytest.mark.parametrize(
    "options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"quality": 20}, {"comment": b"a"}]
)
def test_jpegs_have_pillows_pixels(tmp_path, image_format, options):
    path = save(tmp_path / "a.jpg", **options)
    with open(path, "rb") as file:
        assert decoded(file.read()) is not None
    assert apart(path, image_format) <= 1  # 0 where both bring libjpeg-turbo


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_pngs_are_what_was_stored(tmp_path, image_format):
    path = save(tmp_path / "a.png")
    with open(path, "rb") as file:
        assert np.array_equal(decoded(file.read()), COLOURS[..., ::-1])
    assert apart(path, image_format) == 0


@pytest.mark.parametrize("orientation", range(10))
def test_jpegs_are_upright_whichever_way_they_lie(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", exif=exif)
    with open(path, "rb") as file:
        assert decoded(file.read()) is not None
    assert apart(path, "BGR") <= 1


def grey_png(mode):
    return lambda path: save(path, Image.fromarray(COLOURS).convert(mode), format="PNG")


def deep_png(path):
    cv2.imwrite(f"{path}.png", COLOURS.astype(np.uint16) * 257)
    return f"{path}.png"


def animated_png(path):
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    return save(path, frames[0], format="PNG", save_all=True, append_images=frames[1:])


def turned_png(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(path, format="PNG", exif=exif)


OTHERS = {
    **{f"png {mode}": grey_png(mode) for mode in ("1", "L", "LA", "P", "RGBA")},
    "png 16 bits": deep_png,
    "png animated": animated_png,
    "png turned": turned_png,
    "png transparent": lambda path: save(path, format="PNG", transparency=(1, 2, 3)),
    "jpeg grey": lambda path: save(path, Image.fromarray(COLOURS).convert("L"), format="JPEG"),
    "jpeg CMYK": lambda path: save(path, Image.fromarray(COLOURS).convert("CMYK"), format="JPEG"),
    "bmp": lambda path: save(path, format="BMP"),
    "tiff": lambda path: save(path, format="TIFF"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_all_other_images_are_pillows(tmp_path, kind):
    path = OTHERS[kind](tmp_path / "a")
    with open(path, "rb") as file:
        assert decoded(file.read()) is None
    assert all(apart(path, image_format) == 0 for image_format in ("BGR", "RGB", "L", None))


def ids_png(path, **options):
    return save(path, Image.fromarray(IDS), format="PNG", **options)


def chunk(name, content):
    """A PNG of ids with one more part behind its header."""

    def write(path):
        added = PngInfo()
        added.add(name, content)
        return ids_png(path, pnginfo=added)

    return write


def few_bits_png(path):
    return save(path, Image.fromarray(IDS % 4), format="PNG", bits=2)


LABEL_MAPS = {
    "plain": ids_png,
    "gamma": chunk(b"gAMA", struct.pack(">I", 45455)),
    "background": chunk(b"bKGD", struct.pack(">H", 7)),
    "text": chunk(b"tEXt", b"Software\0none"),
}
OTHER_MAPS = {
    **{f"png {mode}": grey_png(mode) for mode in ("1", "LA", "P", "RGB")},
    "png 2 bits": few_bits_png,
    "png 16 bits": deep_png,
    "png transparent": lambda path: ids_png(path, transparency=3),
    "jpeg": lambda path: save(path, Image.fromarray(IDS), format="JPEG"),
}


@pytest.mark.parametrize("kind", LABEL_MAPS)
def test_label_maps_are_the_numbers_that_are_stored(tmp_path, kind):
    path = LABEL_MAPS[kind](tmp_path / "a")
    with open(path, "rb") as file:
        assert np.array_equal(decoded(file.read(), "L"), IDS)
    assert np.array_equal(read_with_opencv(path, None), IDS)


@pytest.mark.parametrize("kind", OTHER_MAPS)
def test_all_other_maps_are_pillows(tmp_path, kind):
    path = OTHER_MAPS[kind](tmp_path / "a")
    with open(path, "rb") as file:
        assert decoded(file.read(), "L") is None
    assert apart(path, None) == 0


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.7, 0.99])
def test_what_is_cut_off_is_never_made_up(tmp_path, ending, left):
    path = save(tmp_path / f"a.{ending}")
    with open(path, "rb+") as file:
        file.truncate(int(left * len(file.read())))
    with pytest.raises(DataError, match=f"cannot read image {path}"):
        read_with_opencv(path, "BGR")


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"cannot read image {tmp_path}/a\.jpg"):
        read_with_opencv(f"{tmp_path}/a.jpg", "BGR")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.8])
def test_damaged_images_are_what_pillow_makes_of_them(tmp_path, kind, place):
    path = save(tmp_path / "a", format=kind)
    with open(path, "rb+") as file:
        content = bytearray(file.read())
        content[int(place * len(content))] ^= 64
        file.seek(0)
        file.write(content)
    try:
        wanted = read_with_pillow(path, "BGR")
    except DataError:
        with pytest.raises(DataError, match="cannot read image"):
            read_with_opencv(path, "BGR")
    else:
        assert np.abs(read_with_opencv(path, "BGR").astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("place", np.linspace(0.05, 0.95, 19).round(2).tolist())
def test_damaged_label_maps_are_what_pillow_makes_of_them(tmp_path, place):
    path = ids_png(tmp_path / "a")
    with open(path, "rb+") as file:
        content = bytearray(file.read())
        content[int(place * len(content))] ^= 64
        file.seek(0)
        file.write(content)
    try:
        wanted = read_with_pillow(path, None)
    except DataError:
        with pytest.raises(DataError, match="cannot read image"):
            read_with_opencv(path, None)
    else:
        assert np.array_equal(read_with_opencv(path, None), wanted)
