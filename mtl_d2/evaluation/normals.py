"""Metrics of surface normals, as the papers define them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SHARES = {"within_11.25": 11.25, "within_22.5": 22.5, "within_30": 30.0}  # degrees
ERRORS = ("mean_angle", "median_angle", "rmse_angle", "one_minus_cos")
METRICS = {**dict.fromkeys(ERRORS, False), **dict.fromkeys(SHARES, True)}  # whether higher is better
BINS = 100  # for each degree


class NormalsScores:
    """Angles between predicted and true normals over labelled pixels.

    ``mean_angle``, ``median_angle`` and ``rmse_angle`` in degrees, ``within_x`` the share of pixels below x degrees in
    percent, ``one_minus_cos`` the mean of 1 - cosine. The median is of a histogram with bins of 0.01 degrees, within
    which angles count as evenly spread: it is less than 0.01 degrees from the exact one.

    A prediction that is no direction, all 0, is at 90 degrees to everything.
    """

    names = tuple(METRICS)

    def sums(self, prediction: Array, truth: Array) -> Array:
        """Number of pixels, the sums over them, and their histogram; see ``Scores``."""
        labelled = (truth != 0).any(-1)
        t, p = truth[labelled].astype(np.float64), prediction[labelled].astype(np.float64)
        # An angle by its tangent: by its cosine, small ones lose half of their digits.
        cosine, sine = (p * t).sum(-1), np.linalg.norm(np.cross(p, t), axis=-1)
        angle = np.degrees(np.arctan2(sine, cosine))
        angle[(p == 0).all(-1)] = 90
        sums = (angle.sum(), (angle**2).sum(), (1 - np.cos(np.radians(angle))).sum())
        shares = [np.count_nonzero(angle < limit) for limit in SHARES.values()]
        known = np.nan_to_num(angle, nan=180)
        histogram = np.bincount(np.minimum(known * BINS, 180 * BINS - 1).astype(np.int64), minlength=180 * BINS)
        return np.concatenate([[len(t), *sums, *shares], histogram]).astype(np.float64)

    def metrics(self, total: Array) -> dict[str, float]:
        """See the class."""
        (count, angle, square, one_minus_cosine), shares = total[:4], total[4 : 4 + len(SHARES)]
        errors = (angle / count, _median(total[4 + len(SHARES) :]), np.sqrt(square / count), one_minus_cosine / count)
        return dict(zip(self.names, map(float, (*errors, *(100 * shares / count))), strict=True))


def _median(histogram: Array) -> float:
    """The median in degrees: of an even number, the mean of the two in the middle."""
    last = histogram.sum() - 1
    return (_in_order(histogram, last // 2) + _in_order(histogram, (last + 1) // 2)) / 2


def _in_order(histogram: Array, number: float) -> float:
    """The angle in degrees that ``number`` angles lie before."""
    after = np.cumsum(histogram)
    place = int(np.searchsorted(after, number, side="right"))
    return float(place + 1 - (after[place] - number - 0.5) / histogram[place]) / BINS
