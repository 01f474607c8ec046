"""Images: what their headers say, and their pixels as 8-bit images or as maps of class ids.

They are files of images, or arrays at addresses (``mtl_d2.data.addresses``).

Pillow (12.3, 13.0) turns a TIFF as its orientation says: its size when it is opened, its pixels when they are loaded,
and garbles it if it is opened by its path, plain, and lies on its side (``findings/tiff_orientation.sh``). detectron2's
``read_image`` then turns it once more. So TIFFs are opened by a handle and loaded first; see ``upright``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from mtl_d2.data.addresses import names_array, shrinking
from mtl_d2.data.array_images import ids_of_array, image_of_array, is_map_form
from mtl_d2.data.arrays import Form, read_array, read_form
from mtl_d2.data.errors import DataError
from mtl_d2.data.shrunk import shrunk_image, shrunk_map

ORIENTATION = 0x0112  # EXIF's tag; from 5 on width and height are exchanged
FULL_RANGE = 257  # 65535 / 255
ID_MODES = ("L", "P", "1")  # Pillow's, of one channel of at most 8 bits
# What Pillow raises for a file that is no image, by kind of damage.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

ReadImage = Callable[[str, str | None], np.ndarray]  # of a path and a format


@dataclass(frozen=True)
class Header:
    """What an image says of itself before its pixels.

    Attributes:
        stored: (width, height) of the pixels in the file.
        orientation: EXIF's, 1 to 8; 1 = the pixels are as they are to be seen.
        mode: Pillow's.
        kind: the file's format, by Pillow's name.
        packing: how Pillow unpacks the pixels, such as "L;4" for a PNG of 4 bits.
        form: of an array, which has neither mode nor packing; None = an image file.
    """

    stored: tuple[int, int]
    orientation: int
    mode: str
    kind: str
    packing: str
    form: Form | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as it is to be seen, which is what a run reads."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored

    @property
    def bits(self) -> int:
        """Bits of a channel, or 32 for what has no white: integers and floats of 32 bits."""
        if self.mode.startswith("I;16") or (self.mode == "I" and self.kind == "PNG"):  # as older releases of Pillow say
            return 16
        return 32 if self.mode in ("I", "F") else 8

    @property
    def may_hold_ids(self) -> bool:
        """Whether each pixel has one number, of at most 8 bits where it is an image file."""
        return self.mode in ID_MODES if self.form is None else is_map_form(self.form)

    @property
    def numbers(self) -> str:
        """What a pixel is made of, in words."""
        return str(self.form) if self.form else "16-bit" if self.bits == 16 else self.mode


def read_header(path: str) -> Header | None:
    """The header of an image file or an array; None where it cannot be opened, for which see ``why_not_opened``."""
    try:
        if names_array(path):
            form = read_form(path)
            return Header(form.size, 1, "", "array", "", form)
        name, factor = shrinking(path)
        with PathManager.open(name, "rb") as file, Image.open(file) as image:
            # Pillow decodes a PNG to look for EXIF behind its pixels, where hardly any has it.
            has_exif = image.format != "PNG" or "exif" in image.info
            orientation = image.getexif().get(ORIENTATION, 1) if has_exif else 1
            packing = str(image.tile[0][3]) if image.tile else ""
            width, height = _stored_size(image)
            size = (width // factor, height // factor) if factor else (0, 0)
            return Header(size, orientation, image.mode, image.format or "", packing)
    except UNREADABLE:
        return None


def why_not_opened(path: str) -> str:
    """Which file ``read_header`` could not open, and what to do; the end of a line."""
    try:
        if names_array(path):
            read_form(path)
    except DataError as error:
        return str(error).removeprefix("cannot read ")
    return f"{path}: fetch them again, or take them out of the data set"


def read_with_pillow(path: str, image_format: str | None) -> np.ndarray:
    """An image file as ``read_file`` has it, decoded by Pillow.

    Raises:
        DataError: see ``read_file``.
    """
    try:
        bits = 8 if image_format is None else _bits(path)
        if bits == 32:
            raise DataError(f"{path}: pixels of 32 bits have no known white: write the image with 8 or 16 bits")
        if bits == 8:
            return _pixels(path, image_format)
        deep = _pixels(path, None).astype(np.uint32)
        grey = Image.fromarray(((deep + FULL_RANGE // 2) // FULL_RANGE).astype(np.uint8))
        return utils.convert_PIL_to_numpy(grey, image_format)
    except DataError:
        raise
    except UNREADABLE as e:
        raise DataError(f"cannot read image {path} ({e}): fetch the file again, or take it out of the data set") from e


def read_file(path: str, image_format: str | None, read: ReadImage = read_with_pillow) -> np.ndarray:
    """An image as an array (H, W, C) of 8 bits; with ``image_format`` None as stored, palettes as their indices.

    Of arrays see ``image_of_array``. Grey images of 16 bits become 8 bits by 257, of which Pillow would clip all but
    the darkest to white.

    Args:
        path: of the file, or the address of an array.
        image_format: as ``detection_utils.read_image`` takes it.
        read: reads an image file in that format; one of ``mtl_d2.data.image_library``.

    Raises:
        DataError: no such file, it is cut off or damaged, or its pixels have 32 bits, which no image is known by.
    """
    if names_array(path):
        array = read_array(path)
        if image_format is None:
            return array
        return in_format(image_of_array(array, path), image_format)
    file, factor = shrinking(path)
    shrink = shrunk_map if image_format is None else shrunk_image
    return shrink(read(file, image_format), factor, path)


def in_format(pixels: np.ndarray, image_format: str) -> np.ndarray:
    """An image (H, W, 3) RGB or (H, W) of 8 bits as detectron2 has it; the usual formats without Pillow's copies."""
    if pixels.ndim == 3 and image_format in ("RGB", "BGR"):
        return pixels if image_format == "RGB" else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return utils.convert_PIL_to_numpy(Image.fromarray(pixels), image_format)


def upright(image: Image.Image) -> Image.Image:
    """The image as it is to be seen, of a file that was opened by a handle: TIFFs are turned by being loaded."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # else it copies images that are upright already
    return image


def _pixels(path: str, image_format: str | None) -> np.ndarray:
    """detectron2's ``read_image``, which turns TIFFs twice."""
    with PathManager.open(path, "rb") as file, Image.open(file) as image:
        if isinstance(image, TiffImageFile):
            return utils.convert_PIL_to_numpy(upright(image), image_format)
    return utils.read_image(path, image_format)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the pixels in the file, which for TIFFs is not what Pillow calls their size."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[IMAGEWIDTH]), int(image.tag_v2[IMAGELENGTH])
    return image.size


def read_ids(
    path: str, table: bytes | None = None, ignored: int = 255, read: ReadImage = read_with_pillow
) -> np.ndarray:
    """A label map (H, W) uint8 of class ids, whichever they are; a PNG of one bit holds 0 and 1.

    Args:
        path: of an image with one 8-bit channel, or of an array; see ``ids_of_array``.
        table: the class id of each value from 0 that the file may hold, 256 of an image; None = it holds class ids.
        ignored: the id of pixels without a label, which are -1 in arrays.
        read: reads an image file.

    Raises:
        DataError: the file cannot be read, or has several channels or more bits.
    """
    labels = read_file(path, None, read)
    if names_array(path):
        return ids_of_array(labels, path, ignored, table)
    if labels.ndim == 2 and labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(
            f"{path}: expected one 8-bit channel of class ids, found shape {labels.shape} of {labels.dtype}: "
            "give the label map, not its picture in colours"
        )
    if table is None:
        return labels
    if not isinstance(table, bytes) or len(table) != 256:
        raise DataError(f"{path}: its `sem_seg_table` must be 256 bytes, a class for each value: correct the reader")
    return np.frombuffer(table, np.uint8)[labels]


def read_label_map(
    path: str,
    num_classes: int,
    ignore_label: int,
    table: bytes | None = None,
    key: str = "the number of classes",
    read: ReadImage = read_with_pillow,
) -> np.ndarray:
    """A label map (H, W) uint8 of class ids below ``num_classes``, or ``ignore_label``.

    Args:
        path: of an image with one 8-bit channel, or of an array; see ``ids_of_array``.
        num_classes: of the head.
        ignore_label: the id of pixels without a label.
        table: the class id of each value from 0 that the file may hold, 256 of an image; None = it holds class ids.
        key: the config key of ``num_classes``.
        read: reads an image file.

    Raises:
        DataError: the file cannot be read, has several channels, or holds another id.
    """
    labels = read_ids(path, table, ignore_label, read)
    if _holds_other_ids(labels, num_classes, ignore_label):
        wrong = wrong_ids(np.bincount(labels.reshape(-1), minlength=256), num_classes, ignore_label)
        raise DataError(f"{path}: holds {unknown_ids(wrong, num_classes, ignore_label, key)}")
    return labels


def _holds_other_ids(labels: np.ndarray, num_classes: int, ignore_label: int) -> bool:
    """Whether there is an id that ``wrong_ids`` names."""
    least, ignore_label = max(int(num_classes), 0), int(ignore_label)  # OpenCV takes no numbers of NumPy's
    ranges = [(least, 255)] if ignore_label < least else [(least, ignore_label - 1), (ignore_label + 1, 255)]
    # By OpenCV in a fraction of numpy's time.
    return labels.size > 0 and any(
        cv2.countNonZero(cv2.inRange(labels, first, min(last, 255))) > 0 for first, last in ranges if first <= 255
    )


def wrong_ids(counts: np.ndarray, num_classes: int, ignore_label: int) -> list[int]:
    """The ids that are no class and not ignored.

    Args:
        counts: (256,) pixels of each id.
        num_classes: of the head.
        ignore_label: the id of pixels without a label.
    """
    return [int(v) for v in np.flatnonzero(counts) if v >= num_classes and v != ignore_label]


def unknown_ids(wrong: list[int], num_classes: int, ignore_label: int, key: str = "the number of classes") -> str:
    """What is said of ids that are no class; ``key`` of the config counts the classes."""
    return (
        f"the ids {wrong}, but {key} is {num_classes} and the ignored id is {ignore_label}: "
        "correct the number of classes, or the `ignore_label` in the data set's metadata"
    )


def _bits(path: str) -> int:
    header = read_header(path)
    return header.bits if header else 8  # what cannot be opened is said by who reads it
