"""How large an image is, by the first bytes of its file."""

from __future__ import annotations

from typing import Any

from mtl_d2.data.images import read_header


def stored_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image as it is to be seen; None where it cannot be opened."""
    header = read_header(path)
    return None if header is None else header.size


def image_size(record: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the image that a record holds, (C, H, W), or names; None where it cannot be opened."""
    if "image" in record:
        height, width = record["image"].shape[-2:]
        return int(width), int(height)
    return stored_size(record["file_name"])
