"""The pixels of an image under augmentation: detectron2's transforms, of which some are done faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detectron2.data import transforms as T
from PIL import Image
from torch.nn import functional as F

Array = npt.NDArray[Any]
Change = Callable[[Any, Array], Array]

# Pillow's filters that torch has, which widens them likewise where an image becomes smaller.
FILTERS = {Image.Resampling.BILINEAR: "bilinear"}
# Of two or four channels the last is transparency to Pillow, by which it weighs the others.
OPAQUE = (1, 3)


def resized(transform: T.ResizeTransform, image: Array) -> Array:
    """(H', W', C) by torch: within two levels of 255 of Pillow's pixels.

    Both take means under the same filter, as wide as a new pixel is, with weights in whole numbers, which they round to
    different numbers of bits, first along rows and then along columns.
    """
    size, height, width = (transform.new_h, transform.new_w), *image.shape[:2]
    known = transform.interp in FILTERS and image.shape[2] in OPAQUE
    if not known or (height, width) != (transform.h, transform.w):
        return transform.apply_image(image)  # or its complaint
    if size == (height, width):
        return image
    # All four strides say that channels lie together, or torch takes the image apart and doubles the time.
    stored = torch.from_numpy(_forward(np.require(image, requirements=("C", "W"))))
    pixels = stored.view(1, height, width, -1).permute(0, 3, 1, 2)
    smooth = F.interpolate(pixels, size, mode=FILTERS[transform.interp], antialias=True, align_corners=False)
    return smooth[0].permute(1, 2, 0).numpy()


def _forward(image: Array) -> Array:
    """The image in torch's order: numpy calls a mirrored image of one column contiguous, and torch refuses it."""
    return image if min(image.strides) >= 0 else image.copy()


class Seen(T.AugInput):
    """An image under augmentation; no pixel is other than detectron2's."""

    image: Array
    known: ClassVar[Mapping[type, Change]] = {}

    def transform(self, tfm: T.Transform | T.TransformList) -> None:
        """Applies a transform to the image."""
        if isinstance(tfm, T.TransformList):
            for one in tfm.transforms:
                self.transform(one)
            return
        change = self.known.get(type(tfm)) if self.image.dtype == np.uint8 and self.image.ndim == 3 else None
        self.image = change(tfm, self.image) if change else tfm.apply_image(self.image)

    def planes(self) -> torch.Tensor:
        """(C, H, W) contiguous."""
        image = self.image.reshape(*self.image.shape[:2], -1)  # OpenCV leaves a single channel out
        if image.dtype != np.uint8 or image.shape[2] != 3:
            return torch.as_tensor(_forward(np.ascontiguousarray(image.transpose(2, 0, 1))))
        mirrored = image.strides[1] < 0  # as detectron2 flips; planes are mirrored faster than pixels of three numbers
        planes = np.empty((3, *image.shape[:2]), np.uint8)
        cv2.split(np.ascontiguousarray(image[:, ::-1] if mirrored else image), list(planes))
        if mirrored:
            cv2.flip(planes.reshape(-1, planes.shape[2]), 1, planes.reshape(-1, planes.shape[2]))
        return torch.from_numpy(planes)


class Smoothed(Seen):
    """An image under augmentation, resized by torch."""

    known: ClassVar[Mapping[type, Change]] = {T.ResizeTransform: resized}
