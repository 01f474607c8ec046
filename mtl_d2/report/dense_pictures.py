"""Depth and surface normals as pictures, and what their colours mean."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

COLORS = "viridis"  # even steps for the eye, also without colour; near is bright
SPREAD = (2, 98)  # percentiles of the labelled depths that the colours span
EMPTY = 0  # grey of pixels without a label
NORMALS_CAPTION = "red: to the right, green: down, blue: away from us"


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
    place = (np.log(np.where(labelled, depth, 1.0)) - least) / (most - least)
    colors = matplotlib.colormaps[COLORS](1 - place.clip(0, 1), bytes=True)[..., :3]
    return np.where(labelled[..., None], colors, np.uint8(EMPTY))


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
    labelled = np.isfinite(normals).all(-1) & (normals != 0).any(-1)
    colors = np.rint((np.nan_to_num(normals).clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return np.where(labelled[..., None], colors, np.uint8(EMPTY))
