"""Depth and surface normals as pictures, and what their colours mean."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

COLORS = "viridis"  # even steps for the eye, also without colour; near is bright
SPREAD = (2, 98)  # percentiles of the labelled depths that the colours span
EMPTY = 0  # grey of pixels without a label
NORMALS_CAPTION = "red: to the right, green: down, blue: away from us"
NORMALS_COLORS = {
    "to the right": "#ff8080", "to the left": "#008080", "down": "#80ff80", "up": "#800080",
    "away from us": "#8080ff", "towards us": "#808000",
}  # fmt: skip


def depth_range(depth: Array) -> tuple[float, float]:
    """(nearest, farthest) that colours are to span; (0, 1) where nothing is labelled.

    Args:
        depth: (H, W); 0, negative and not finite = no label.
    """
    labelled = depth[np.isfinite(depth) & (depth > 0)]
    if not labelled.size:
        return 0.0, 1.0
    nearest, farthest = np.percentile(labelled, SPREAD)
    return float(nearest), float(max(farthest, nearest * 1.001))


def depth_picture(depth: Array, span: tuple[float, float]) -> Array:
    """(H, W, 3) uint8 RGB, by the logarithm of depth: what is twice as far is as much darker, near or far.

    Args:
        depth: (H, W); 0, negative and not finite = no label, black.
        span: the depths of the brightest and of the darkest colour.
    """
    labelled = np.isfinite(depth) & (depth > 0)
    least, most = (np.log(max(end, 1e-9)) for end in span)
    logarithms = np.asarray(cv2.log(np.where(labelled, depth, 1.0).astype(np.float32)))
    steps = 256 / (most - least)
    places = cv2.addWeighted(
        logarithms, -steps, logarithms, 0.0, most * steps - 0.5, dtype=cv2.CV_8U
    )  # rounded, not cut
    colors = np.asarray(cv2.applyColorMap(places, _table()), np.uint8)
    colors[~labelled] = EMPTY
    return colors


@cache
def _table() -> Array:
    """(256, 1, 3) of the colours, the nearest last."""
    return np.asarray(matplotlib.colormaps[COLORS](np.arange(256), bytes=True)[:, None, :3].copy())


def depth_caption(depth: Array, span: tuple[float, float], unit: str) -> str:
    """What the colours of ``depth_picture`` mean, in words."""
    if not (np.isfinite(depth) & (depth > 0)).any():
        return "no depth above 0"
    return f"{span[0]:.3g} (bright) to {span[1]:.3g} {unit} (dark)"


def normals_picture(normals: Array) -> Array:
    """(H, W, 3) uint8 RGB: (n + 1) / 2 of each component, black where all are 0 or one is not finite.

    Args:
        normals: (H, W, 3) unit vectors.
    """
    if not np.isfinite(normals.sum()):
        normals = np.where(np.isfinite(normals).all(-1, keepdims=True), normals, 0)
    normals = np.ascontiguousarray(normals, dtype=np.float32)
    colors = np.asarray(cv2.addWeighted(normals, 127.5, normals, 0.0, 127.5, dtype=cv2.CV_8U), np.uint8)
    colors[cv2.inRange(normals, (0, 0, 0), (0, 0, 0)) > 0] = EMPTY
    return colors
