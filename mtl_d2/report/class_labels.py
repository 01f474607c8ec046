"""The classes of a whole image, written below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mtl_d2.report.drawing import Image
from mtl_d2.report.palette import class_name
from mtl_d2.tasks import CLASSIFICATION

WIDTH = 216  # pixels
LINE = 20  # pixels of a line of text


def draw_classes(image: npt.NDArray[np.uint8], ids: Mapping[str, int], metadata: Any) -> Image:
    """The image enlarged to whole multiples of its pixels, and below it a line for each task: "left: 7".

    Args:
        image: (1, H, W) grey or (3, H, W) RGB.
        ids: class of each task.
        metadata: of the catalog; its ``classes`` name the classes of a task.

    Returns:
        (height, width, 3) uint8.
    """
    pixels = np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3))
    factor = max(1, WIDTH // image.shape[2])
    large = pixels.repeat(factor, 0).repeat(factor, 1)
    text = np.full((LINE * len(ids) + 4, large.shape[1], 3), 255, np.uint8)
    names = metadata.get("classes", {})
    for line, (task, k) in enumerate(ids.items()):
        name = class_name(list(names.get(task, ())), k)
        where = (4, LINE * (line + 1) - 4)
        label = f"{task.removeprefix(CLASSIFICATION)}: {name}"
        cv2.putText(text, label, where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([large, text])
