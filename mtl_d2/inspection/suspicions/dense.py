"""Depth and normals that can hardly be meant; what the check of the data says of units and lengths is not repeated."""

from __future__ import annotations

import numpy as np

from mtl_d2.data.dense_maps import METRES
from mtl_d2.inspection.labels.base import Array, Labels

FEW = 5  # maps below which nothing is said of them all
NEAREST, FARTHEST = 50.0, 0.5  # metres: nothing nearer than the one, or farther than the other
USUAL_METRES = (0.1, 1000.0)  # that the check warns beyond
INVERTED = 1.3  # times as far below as above
DOWN = 0.2  # y of the mean normal of the lower third


def odd_depth(labels: Labels, unit: str, values: Array) -> list[str]:
    """A sentence each."""
    lines = []
    least, median, most = np.percentile(values, (2, 50, 98))
    usual = USUAL_METRES[0] <= median <= USUAL_METRES[1]
    if unit == METRES and usual and least > NEAREST:
        lines.append(
            f"98 % of its depth is beyond {least:.3g} m, as of a picture from the air: is it in another unit, such as "
            "centimetres? See `depth_encoding` and `depth_unit`"
        )
    if unit == METRES and usual and most < FARTHEST:
        lines.append(
            f"98 % of its depth is below {most:.3g} m: is it scaled to [0, 1], or in another unit? See `depth_encoding`"
        )
    ratios = np.array([seen.below / seen.above for seen in labels.observed if seen.above > 0 and seen.below > 0])
    if unit == METRES and len(ratios) >= FEW and (ratios > INVERTED).mean() > 0.6:
        lines.append(
            f"the lower third of the image is farther than the upper one in {100 * (ratios > 1).mean():.0f} % of "
            f"{len(ratios)} samples ({np.median(ratios):.2g} times): is it disparity or inverse depth, or upside down?"
        )
    constant = [
        seen for seen in labels.observed if len(seen.values) and np.ptp(seen.values) <= 1e-6 * seen.values.max()
    ]
    if len(labels.observed) >= FEW and len(constant) > 0.5 * len(labels.observed):
        lines.append(f"{len(constant)} of {len(labels.observed)} maps looked at have one value alone")
    return lines


def odd_normals(labels: Labels) -> list[str]:
    """A sentence each."""
    seen = [one for one in labels.observed if one is not None]
    if len(seen) < FEW:
        return []
    lines = []
    down = np.array([one.below[1] for one in seen if np.isfinite(one.below[1])])
    if len(down) and np.median(down) > DOWN:
        lines.append(
            f"the lower third of the images faces down (the median of its y is {np.median(down):.2f}), as a ceiling "
            "would: y counts down here; name the axes of the file by `normals_axes`, such as '+x -y +z'"
        )
    flat = [one for one in seen if one.spread.max() < 1e-3]
    if len(flat) > 0.5 * len(seen):
        lines.append(f"{len(flat)} of {len(seen)} maps looked at have one normal alone")
    return lines
