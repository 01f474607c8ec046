"""How large an image is, by the first bytes of its file."""

from __future__ import annotations

from typing import Any

from PIL import Image

ORIENTATION = 0x0112  # EXIF's tag; from 5 on width and height are exchanged


def stored_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image as it is to be seen; None where it cannot be opened."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            return image.size[::-1] if turned else image.size
    except (OSError, SyntaxError, ValueError):
        return None


def image_size(record: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the image that a record holds, (C, H, W), or names; None where it cannot be opened."""
    if "image" in record:
        height, width = record["image"].shape[-2:]
        return int(width), int(height)
    return stored_size(record["file_name"])
