"""Making images larger, fast."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.data import transforms as T

from mtl_d2.data.dense_resampling import nearest

Array = npt.NDArray[Any]


class MagnifyTransform(T.ResizeTransform):
    """Resizes to at least the size of an image, as detectron2 does but several times as fast, and with OpenCV.

    Images of 8 bits differ from Pillow's by one level at most; where nothing is made smaller, neither of the two
    averages more than the four pixels around a place. Label maps take the same pixels, but for the middles that lie
    between two: there it is always the second here, and chance of rounding in Pillow.
    """

    def apply_image(self, img: Array, interp: int | None = None) -> Array:
        """An image (H, W) or (H, W, C) of any kind that OpenCV knows, else by detectron2.

        Args:
            img: of the size that the transform was made for.
            interp: another interpolation of Pillow than the bilinear one; detectron2 does it.
        """
        if interp is not None or img.dtype not in (np.uint8, np.float32):
            return super().apply_image(img, interp)
        resized = cv2.resize(img, (self.new_w, self.new_h), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized).reshape(self.new_h, self.new_w, *img.shape[2:])

    def apply_segmentation(self, segmentation: Array) -> Array:
        """(H', W') of the nearest pixels of (H, W)."""
        return nearest(segmentation, (self.new_h, self.new_w))
