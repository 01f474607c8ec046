"""By which library images are read and transformed, in training and in tests.

detectron2's models were trained and evaluated on Pillow's pixels, so tests take these unless they are told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode

from mtl_d2.data.images import ReadImage, read_with_pillow
from mtl_d2.data.opencv_images import read_with_opencv
from mtl_d2.data.pixels import Seen, Smoothed
from mtl_d2.options import choice, declare


@dataclass(frozen=True)
class ImageLibrary:
    """How an image file becomes the pixels of a sample.

    Attributes:
        read: reads an image file.
        seen: takes its pixels through the augmentation.
    """

    read: ReadImage
    seen: type[Seen]


PILLOW, OPENCV = "pillow", "opencv"
LIBRARIES = {
    OPENCV: ImageLibrary(read_with_opencv, Smoothed),
    PILLOW: ImageLibrary(read_with_pillow, Seen),
}

declare(
    "INPUT",
    {
        "IMAGE_LIBRARY_TRAIN": choice(
            OPENCV,
            "what reads and resizes training images: `opencv` takes a third of the time of `pillow`, detectron2's, and "
            "gives the same pixels but for two levels of 255 at most; see docs/loader.md",
            tuple(LIBRARIES),
        ),
        "IMAGE_LIBRARY_TEST": choice(
            PILLOW,
            "the same for images of tests: with `pillow`, detectron2's models have the scores that it publishes",
            tuple(LIBRARIES),
        ),
    },
)


def image_library(cfg: CfgNode, is_train: bool) -> ImageLibrary:
    """That of ``INPUT`` for training, or for tests."""
    return LIBRARIES[cfg.INPUT.IMAGE_LIBRARY_TRAIN if is_train else cfg.INPUT.IMAGE_LIBRARY_TEST]
