"""Augmentations that detectron2 does not have: by the image's own size, and of colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as F
from detectron2.data import transforms as T
from fvcore.common.registry import Registry
from torchvision import transforms

AUGMENTATIONS = Registry("AUGMENTATIONS")  # classes by the name that INPUT.AUGMENTATIONS has

Change = tuple[Callable[[Any, float], Any], float]  # one of torchvision's functions and its factor


@AUGMENTATIONS.register()
class ScaleJitter(T.Augmentation):
    """Resizes by a factor of the image's own size, drawn evenly from a range, or from a few factors.

    detectron2's ``ResizeScale`` draws a factor of a target's size instead: large-scale jitter is
    ``ResizeScale(0.1, 2.0, 1024, 1024)`` and ``FixedSizeCrop((1024, 1024))``, as Ghiasi et al., Simple Copy-Paste,
    CVPR 2021, https://arxiv.org/abs/2012.07177, section 3.
    """

    def __init__(self, min_scale: float = 0.5, max_scale: float = 2.0, scales: Sequence[float] = ()) -> None:
        """Args as the class says.

        Args:
            min_scale: smallest factor, > 0.
            max_scale: largest factor.
            scales: if there are any, the factor is one of these.

        Raises:
            ValueError: the factors are no range of numbers above 0.
        """
        super().__init__()
        if not 0 < min_scale <= max_scale or any(scale <= 0 for scale in scales):
            raise ValueError(f"factors must be > 0, the first <= the second, got {min_scale}, {max_scale}, {scales}")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Of an image (H, W, C)."""
        scale = np.random.choice(self.scales) if len(self.scales) else np.random.uniform(self.min_scale, self.max_scale)
        h, w = image.shape[:2]
        return T.ResizeTransform(h, w, max(1, round(h * scale)), max(1, round(w * scale)))


@AUGMENTATIONS.register()
class ColorJitter(T.Augmentation):
    """torchvision's: brightness, contrast, saturation and hue by random factors, in random order."""

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        prob: float = 1.0,
        image_format: str = "BGR",
    ) -> None:
        """Args as torchvision has them.

        Args:
            brightness: factors are drawn from [1 - it, 1 + it], or from the range (from, to).
            contrast: likewise.
            saturation: likewise.
            hue: shares of the circle of hues, from [-it, it] or (from, to), within [-0.5, 0.5].
            prob: of images that are changed.
            image_format: the order of the channels: "BGR", "RGB" or "L".

        Raises:
            ValueError: a range is not one of torchvision's, or the format is none of these.
        """
        super().__init__()
        _require_colors(image_format)
        self.jitter = transforms.ColorJitter(brightness, contrast, saturation, hue)
        self.prob, self.image_format = prob, image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Of an image (H, W, C) of 8 bits."""
        if np.random.uniform() >= self.prob:
            return T.NoOpTransform()
        ranges = (self.jitter.brightness, self.jitter.contrast, self.jitter.saturation, self.jitter.hue)
        order, *factors = transforms.ColorJitter.get_params(*ranges)
        functions = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        changes = [(functions[i], factors[i]) for i in map(int, order) if factors[i] is not None]
        return T.ColorTransform(partial(_changed, changes=changes, image_format=self.image_format))


@AUGMENTATIONS.register()
class PhotometricDistortion(T.Augmentation):
    """SSD's: brightness, contrast, saturation and hue, each of them in every second image.

    Paper: Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, https://arxiv.org/abs/1512.02325, section 2.2;
        the ranges are those of its code: brightness +-32 of 255, contrast and saturation 0.5 to 1.5, hue +-18 degrees.
    Differs from: the code in brightness, which is a factor here, and in the channels, which are never exchanged.
    """

    def __init__(
        self,
        brightness: tuple[float, float] = (0.875, 1.125),
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: tuple[float, float] = (-0.05, 0.05),
        prob: float = 0.5,
        image_format: str = "BGR",
    ) -> None:
        """Args as the class says.

        Args:
            brightness: range of factors.
            contrast: range of factors; it comes before saturation and hue in one half of the images, after them in the
                other.
            saturation: range of factors.
            hue: range of shares of the circle of hues, within [-0.5, 0.5].
            prob: of each of the four.
            image_format: the order of the channels: "BGR", "RGB" or "L".

        Raises:
            ValueError: a range is not one of torchvision's, or the format is none of these.
        """
        super().__init__()
        _require_colors(image_format)
        transforms.ColorJitter(brightness, contrast, saturation, hue)  # looks at the ranges
        self.ranges = (brightness, saturation, hue, contrast)
        self.prob, self.image_format = prob, image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Of an image (H, W, C) of 8 bits."""
        functions = (F.adjust_brightness, F.adjust_saturation, F.adjust_hue, F.adjust_contrast)
        drawn = [
            (function, np.random.uniform(*limits), np.random.uniform() < self.prob)
            for function, limits in zip(functions, self.ranges, strict=True)
        ]
        if np.random.uniform() < 0.5:
            drawn.insert(1, drawn.pop())
        changes = [(function, factor) for function, factor, done in drawn if done]
        return T.ColorTransform(partial(_changed, changes=changes, image_format=self.image_format))


def _require_colors(image_format: str) -> None:
    if image_format not in ("BGR", "RGB", "L"):
        raise ValueError(f"colours are changed in images of INPUT.FORMAT 'BGR', 'RGB' or 'L', not {image_format!r}")


def _changed(image: np.ndarray, changes: Sequence[Change], image_format: str) -> np.ndarray:
    """An image (H, W, C) of 8 bits after ``changes`` in their order."""
    order = slice(None, None, -1) if image_format == "BGR" else slice(None)
    pixels = torch.from_numpy(np.ascontiguousarray(image[:, :, order].transpose(2, 0, 1)))  # (C, H, W)
    for function, factor in changes:
        pixels = function(pixels, factor)
    return np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0)[:, :, order])
