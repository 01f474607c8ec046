"""Arrays as images of 8 bits and as maps of class ids."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mtl_d2.data.arrays import Form, channels_last, one_channel
from mtl_d2.data.errors import DataError

Array = npt.NDArray[Any]
# What resizing with a cubic kernel leaves outside 0..1, and no image of 0..255 keeps inside.
FLOAT_RANGE = (-0.5, 1.5)
IMAGE_RULE = "(H, W, 3) or (H, W), of 8 bits or floats from 0 to 1"


def is_image_form(form: Form) -> bool:
    """Whether an array of this form may be an image."""
    return form.channels in (1, 3) and (form.dtype == np.uint8 or form.dtype.kind == "f")


def is_map_form(form: Form) -> bool:
    """Whether an array of this form may be a map with one number for each pixel."""
    return form.channels == 1


def image_of_array(array: Array, path: str) -> Array:
    """An image (H, W, 3) or (H, W) uint8: floats times 255, rounded.

    What was made of 8 bits, as published arrays were, is that again; of other floats 1 / 510 is lost at most.

    Args:
        array: what ``IMAGE_RULE`` says, or (3, H, W).
        path: for the message.

    Raises:
        DataError: it is no image, or holds numbers beyond 0..1, or such as are not finite.
    """
    form = Form(array.shape, array.dtype)
    if not is_image_form(form):
        raise DataError(f"{path}: is {form}, but an image is {IMAGE_RULE}: write it so, or correct its record")
    pixels = one_channel(array) if form.channels == 1 else channels_last(array)
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    least, most = float(pixels.min()), float(pixels.max())
    if not FLOAT_RANGE[0] <= least <= most <= FLOAT_RANGE[1]:  # NaN is not
        raise DataError(
            f"{path}: the floats of an image are from 0 to 1, but these are from {least:g} to {most:g}: divide them by "
            "255, or write them as 8 bits"
        )
    inside = pixels if least >= 0 and most <= 1 else np.clip(pixels, 0, 1)
    known = inside.dtype if inside.dtype.itemsize in (4, 8) else np.float32  # to OpenCV
    return cv2.convertScaleAbs(np.ascontiguousarray(inside, known), alpha=255)  # which rounds


def ids_of_array(array: Array, path: str, ignored: int, table: bytes | None) -> Array:
    """A map of class ids (H, W) uint8.

    Args:
        array: (H, W), (H, W, 1) or (1, H, W), of whole numbers, floats too; -1 = no label.
        path: for the message.
        ignored: what -1 becomes.
        table: the class id of each value from 0; None = they are class ids.

    Raises:
        DataError: it holds no whole numbers, or others than 8 bits or the table know.
    """
    form = Form(array.shape, array.dtype)
    if not is_map_form(form):
        raise DataError(f"{path}: is {form}, but a label map is (H, W), a class id for each pixel: write it so")
    values = labels = one_channel(array)
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN is no number that it becomes, and found so
            values = labels.astype(np.int32)
        if not np.array_equal(values.astype(labels.dtype), labels):
            raise DataError(f"{path}: holds floats that are no whole numbers, where class ids are: write ids")
    if table is not None and not isinstance(table, bytes):
        raise DataError(
            f"{path}: its `sem_seg_table` must be bytes, a class for each value, found {type(table).__name__}: correct "
            "the reader"
        )
    least, most = int(values.min()), int(values.max())
    count = 256 if table is None else len(table)
    if least < -1 or most >= count:
        known = "ids of 8 bits" if table is None else f"the {count} entries of its `sem_seg_table`"
        raise DataError(
            f"{path}: holds the values {least} to {most}, beyond -1 (no label) and {known}: correct its file, or the "
            "table in its reader"
        )
    if table is not None:
        # Behind the table stands what -1 takes.
        return np.frombuffer(table + bytes([ignored]), np.uint8)[values]
    if least < 0:
        return np.where(values < 0, ignored, values).astype(np.uint8)
    return values.astype(np.uint8)
