"""Images as people have them, as arrays (H, W, 3) uint8 RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mtl_d2.data.images import FULL_RANGE, read_file
from mtl_d2.data.opencv_images import read_with_opencv
from mtl_d2.prediction.errors import PredictionError

Image = npt.NDArray[np.uint8]
ORDERS = {  # of colours, by name: what of OpenCV's makes RGB of 3 and of 4 channels
    "RGB": (None, cv2.COLOR_RGBA2RGB),
    "BGR": (cv2.COLOR_BGR2RGB, cv2.COLOR_BGRA2RGB),
}


def as_rgb(image: Any, channels: str = "RGB") -> Image:
    """An image as the network's input is made of.

    Args:
        image: an array or tensor (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of 8 or 16 bits, Pillow's image, or the
            path of a file. One channel is grey; a fourth is transparency, which is left out; 16 bits become 8 by 257.
        channels: "RGB" or "BGR", OpenCV's: the order in an array of 3 or 4 channels; files say theirs themselves.

    Raises:
        PredictionError: it is no image of these; ``DataError`` of a file that cannot be read.
    """
    if channels not in ORDERS:
        raise PredictionError(f"channels must be 'RGB' or 'BGR' (OpenCV's), got {channels!r}")
    if isinstance(image, str | Path):
        return read_image(str(image))
    if hasattr(image, "convert"):  # Pillow's
        if not str(image.mode).startswith(("I", "F")):
            return np.asarray(image.convert("RGB"))
        image = np.asarray(image)  # of which Pillow would make white
        image = image.astype(image.dtype.newbyteorder("="))
    pixels = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + FULL_RANGE // 2) // FULL_RANGE).astype(np.uint8)
    count = 1 if pixels.ndim == 2 else pixels.shape[-1] if pixels.ndim == 3 else 0
    if pixels.dtype != np.uint8 or count not in (1, 3, 4) or not pixels.size:
        raise PredictionError(
            f"an image must be an array (H, W, 3) of uint8, {channels}, or (H, W), (H, W, 4) or of uint16; found "
            f"{pixels.shape} of {pixels.dtype}{_advice(pixels)}"
        )
    pixels = np.ascontiguousarray(pixels)
    if count == 1:
        return np.asarray(cv2.cvtColor(pixels.reshape(pixels.shape[:2]), cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    change = ORDERS[channels][count - 3]
    return pixels if change is None else np.asarray(cv2.cvtColor(pixels, change), dtype=np.uint8)


def _advice(pixels: npt.NDArray[Any]) -> str:
    if pixels.dtype.kind == "f":
        return ": if it is of 0 to 1, take (255 * image).round().astype('uint8')"
    if pixels.ndim == 4:
        return ": give a batch as a list of images"
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.dtype == np.uint8:
        return ": put the channels last, as image.transpose(1, 2, 0) does"
    return ""


def read_image(path: str) -> Image:
    """A file, upright as its EXIF says, by the same rules; see ``mtl_d2.data.images.read_file``.

    Raises:
        DataError: it cannot be read.
    """
    return np.ascontiguousarray(read_file(path, "RGB", read_with_opencv))
