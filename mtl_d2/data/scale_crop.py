"""Augmentations of the dense papers: a part of the image at the size of the whole, anywhere or about the centre."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T

from mtl_d2.data.jitter import AUGMENTATIONS
from mtl_d2.data.magnify import MagnifyTransform


@AUGMENTATIONS.register()
class RandomScaleCrop(T.Augmentation):
    """Cuts a window of 1 / s of the image's height and width at a random place, and resizes it to the image's size.

    Images and normals are resampled linearly, label maps and depth by the nearest pixel. What becomes of depth is
    ``MODEL.DEPTH_HEAD.SCALING``: "divide" is depth / s.

    Paper: none; Liu et al., MTAN, CVPR 2019, https://arxiv.org/abs/1803.10704, trains without it. It is in the code
        that the authors published with it, and in that of the papers since Liu et al., CAGrad, NeurIPS 2021.
    Differs from: that code in three things. Pixels are squares whose middles are resampled, as in Pillow, OpenCV and
        detectron2, for the image and every label alike; there, the image's and the normals' corner pixels stay in the
        corners (``align_corners=True``), while labels and depth take the pixel at or above and left of that place: they
        are up to a pixel apart. Normals have length 1 again afterwards. The window is rounded to the nearest number of
        pixels, not cut off, and depth is divided by the magnification that results: s itself wherever s divides the
        size, as for 288 x 384 pixels.
    """

    def __init__(self, scales: Sequence[float] = (1.0, 1.2, 1.5)) -> None:
        """Args as the class says.

        Args:
            scales: one of these is s, each as likely as the others; >= 1.

        Raises:
            ValueError: there is none, or one that is no number from 1.
        """
        super().__init__()
        if not isinstance(scales, Sequence) or not scales or not all(map(_is_scale, scales)):
            raise ValueError(f"scales must be numbers >= 1 in brackets, such as (1.0, 1.2, 1.5), got {scales!r}")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Of an image (H, W, C)."""
        height, width = image.shape[:2]
        scale = self.scales[np.random.randint(len(self.scales))]
        window = max(1, round(height / scale)), max(1, round(width / scale))
        if window == (height, width):
            return T.NoOpTransform()
        y, x = self.place(height - window[0], width - window[1])
        crop = T.CropTransform(x, y, window[1], window[0], width, height)
        return T.TransformList([crop, MagnifyTransform(*window, height, width)])

    def place(self, rows: int, columns: int) -> tuple[int, int]:
        """Where the window begins, (y, x), of the ``rows`` + 1 by ``columns`` + 1 places where it can."""
        return np.random.randint(rows + 1), np.random.randint(columns + 1)


def _is_scale(value: object) -> bool:
    return isinstance(value, int | float) and 1 <= value < math.inf


@AUGMENTATIONS.register()
class RandomCentreZoom(RandomScaleCrop):
    """Magnifies about the centre of the image, whose size stays.

    Paper: the code of Vandenhende et al., Multi-Task Learning for Dense Prediction Tasks, PAMI 2021,
        https://arxiv.org/abs/2004.13379 (its zoom and rotation, without the rotation).
    Differs from: the code, which zooms about a point between pixels: the window begins at a whole pixel here, so that
        its centre is off by half a pixel where an odd number of pixels is cut; else as ``RandomScaleCrop``.
    """

    def place(self, rows: int, columns: int) -> tuple[int, int]:
        """As in ``RandomScaleCrop``, in the middle."""
        return rows // 2, columns // 2
