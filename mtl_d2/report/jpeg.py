"""Pictures as files of a page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mtl_d2.report.drawing import Image

MAX_WIDTH = 960  # pixels of a written picture


def write_jpeg(path: Path, picture: Image, quality: int, option: str) -> None:
    """Writes a picture, made smaller where it is wider than ``MAX_WIDTH``.

    Args:
        path: of the file.
        picture: (H, W, 3) uint8 RGB.
        quality: JPEG's, 0 to 100.
        option: names the folder in the message.

    Raises:
        OSError: it cannot be written.
    """
    height, width = picture.shape[:2]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, round(height * MAX_WIDTH / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]):
        raise OSError(f"{option}: the picture {path} cannot be written; free some space or choose another folder")
