"""Images and maps a whole number of times smaller than their files, as papers train on Cityscapes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mtl_d2.data.errors import DataError

Array = npt.NDArray[Any]


def shrunk_image(pixels: Array, factor: int, path: str) -> Array:
    """(H / factor, W / factor, C) uint8, means of squares of pixels.

    Args:
        pixels: (H, W, C) or (H, W) uint8.
        factor: by which height and width can be divided.
        path: for the message.

    Raises:
        DataError: they cannot.
    """
    if factor == 1:
        return pixels
    height, width = _size(pixels, factor, path)
    small = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    return small.reshape(height, width, *pixels.shape[2:])  # OpenCV leaves a single channel out


def shrunk_map(values: Array, factor: int, path: str) -> Array:
    """(H / factor, W / factor, ...) of the pixel right below the middle of each square; see ``shrunk_image``."""
    if factor == 1:
        return values
    _size(values, factor, path)
    return np.ascontiguousarray(values[factor // 2 :: factor, factor // 2 :: factor])


def _size(pixels: Array, factor: int, path: str) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    if not factor or height % factor or width % factor:
        raise DataError(
            f"{path}: {height} x {width} (height, width) cannot be divided by {factor}: take another part of it"
        )
    return height // factor, width // factor
