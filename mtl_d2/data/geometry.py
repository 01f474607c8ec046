"""What an augmentation did to an image, which its labels are to follow."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.data import transforms as T


@dataclass(frozen=True)
class Geometry:
    """What the augmentation did to one image.

    Attributes:
        transforms: from the image as stored to the image as trained on.
        before: (height, width) as stored, in pixels.
        after: (height, width) as trained on, in pixels.
    """

    transforms: T.TransformList
    before: tuple[int, int]
    after: tuple[int, int]
