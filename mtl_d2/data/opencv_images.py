"""Colour images and label maps decoded by OpenCV: Pillow's pixels in half of its time.

Both decode JPEG by libjpeg-turbo and PNG by libpng's rules, so their pixels are the same where both packages bring
these libraries, as those of the package index do. Which images OpenCV decodes is read off the header by Pillow; all
others, and whatever OpenCV does not decode, are Pillow's to read or to refuse.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.utils.file_io import PathManager
from PIL import Image

from mtl_d2.data.images import ORIENTATION, read_with_pillow

Array = npt.NDArray[Any]
# How a file ends that is whole. Of one that is cut off OpenCV makes up the rest, and Pillow refuses it.
JPEG_END, PNG_END = b"\xff\xd9", b"IEND\xae\x42\x60\x82"
# Parts of a PNG in which its orientation may stand, at any place of the file.
PNG_ORIENTATIONS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
FLAGS = {"RGB": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, "L": cv2.IMREAD_UNCHANGED}  # by Pillow's mode
# What EXIF's orientations from 2 to 8 do to the stored pixels.
TURNS: dict[int, Callable[[Array], Any]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def read_with_opencv(path: str, image_format: str | None) -> Array:
    """An image file as ``read_with_pillow`` has it.

    OpenCV decodes JPEG and PNG of 8-bit RGB for an image, and PNG of one channel of 8 bits without a palette where the
    pixels are asked for as they are stored.

    Args:
        path: of the file.
        image_format: as ``detection_utils.read_image`` takes it; other than "BGR", "RGB" and None are Pillow's.

    Raises:
        DataError: see ``read_with_pillow``.
    """
    if image_format in ("BGR", "RGB", None):
        try:
            with PathManager.open(path, "rb") as file:
                content = file.read()
        except OSError:  # said by Pillow's route
            content = b""
        pixels = decoded(content, "L" if image_format is None else "RGB")
        if pixels is not None:
            return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if image_format == "RGB" else pixels
    return read_with_pillow(path, image_format)


def decoded(content: bytes, mode: str = "RGB") -> Array | None:
    """An image file's pixels (H, W, 3) BGR or (H, W), uint8, as they are to be seen; None = Pillow is to read it.

    Args:
        content: of the file.
        mode: Pillow's of the pixels that are wanted, "RGB" or "L".
    """
    orientation = _plain_orientation(content, mode)
    if orientation is None:
        return None
    try:
        stored = cv2.imdecode(np.frombuffer(content, np.uint8), FLAGS[mode])
    except cv2.error:  # larger than OpenCV takes
        return None
    return None if stored is None else np.asarray(TURNS.get(orientation, TURNS[1])(stored))


def _plain_orientation(content: bytes, mode: str) -> int | None:
    """EXIF's orientation of a whole JPEG or PNG of 8 bits in a mode without anything else to it; None of other files.

    A grey JPEG is not such a file: its pixels are no numbers that are to be kept.
    """
    if not content.endswith((JPEG_END, PNG_END)):
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.mode != mode:
                return None
            if image.format == "JPEG" and mode == "RGB":
                return int(image.getexif().get(ORIENTATION, 1))
            plain = image.format == "PNG" and image.tile[0][3] == mode and "transparency" not in image.info
            one = not getattr(image, "is_animated", False)
    except Exception:  # noqa: BLE001  # EXIF is whatever cameras write, and Pillow's route knows what to make of it
        return None
    return 1 if plain and one and not any(mark in content for mark in PNG_ORIENTATIONS) else None
