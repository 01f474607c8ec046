"""Writing images, arrays and JSON, the same bytes for the same content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mtl_d2.data.sample_scenes.camera import Array


def write_image(path: Path, image: Array) -> None:
    """Writes an image in the format of the file's ending, and its folder.

    Args:
        path: ``.jpg`` or ``.png``.
        image: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image[..., ::-1] if image.ndim == 3 else image
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    written, data = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), options)
    assert written
    path.write_bytes(data.tobytes())


def write_array(path: Path, array: Array) -> None:
    """Writes an array as ``.npy``, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, array)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, and its folder; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    part.replace(path)
