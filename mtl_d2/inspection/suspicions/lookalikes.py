"""Test images that look like training images: copies that were written again, at another size or quality."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from mtl_d2.data.addresses import names_array
from mtl_d2.inspection.labels.base import Array

SIDE = 24  # pixels of a thumbnail
ALIKE = 2.0  # mean difference of the levels, of 255: copies of another quality have below 1, other frames of a film 8
FLAT = 8.0  # standard deviation of a thumbnail below which nothing is said of it

Thumbnails = Mapping[str, Array]  # by file


def thumbnail(file: str, size: tuple[int, int]) -> Array | None:
    """(SIDE, SIDE) uint8, grey; None of what OpenCV does not read, and of what hardly shows anything.

    Args:
        file: of an image.
        size: its height and width; large JPEGs are read at a quarter of it, which takes less time.
    """
    if names_array(file) or not os.path.isfile(file):
        return None
    small = cv2.imread(file, cv2.IMREAD_REDUCED_GRAYSCALE_4 if min(size) >= 8 * SIDE else cv2.IMREAD_GRAYSCALE)
    if small is None:
        return None
    grey = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return grey if grey.std() >= FLAT else None


def lookalikes(train: Mapping[str, Thumbnails], test: Mapping[str, Thumbnails]) -> Iterator[tuple[str, str]]:
    """A sentence for each test set that has images like training images; copies byte for byte are told elsewhere.

    Args:
        train: by training set.
        test: by test set.
    """
    files = [file for of_set in train.values() for file in of_set]
    if not files:
        return
    known = np.stack([image for of_set in train.values() for image in of_set.values()]).reshape(len(files), -1)
    known = known.astype(np.float32)
    for name, images in test.items():
        alike = []
        for file, image in images.items():
            distances = np.abs(known - image.reshape(1, -1)).mean(1)
            nearest = int(distances.argmin())
            if distances[nearest] < ALIKE and os.path.getsize(file) != os.path.getsize(files[nearest]):
                alike.append((file, files[nearest]))
        if alike:
            line = (
                f"{len(alike)} of the {len(images)} of its images looked at look like images that are trained on, the "
                f"first is {alike[0][0]}, like {alike[0][1]}: are they copies, or neighbouring frames of one film?"
            )
            yield name, line
