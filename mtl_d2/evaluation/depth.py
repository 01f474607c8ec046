"""Metrics of depth, or of disparity, as the papers define them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mtl_d2.data.errors import DataError

Array = npt.NDArray[Any]

DELTAS = {"delta_1.25": 1.25, "delta_1.25^2": 1.25**2, "delta_1.25^3": 1.25**3}
ERRORS = ("abs_err", "rel_err", "rmse", "rmse_log")
METRICS = {**dict.fromkeys(ERRORS, False), **dict.fromkeys(DELTAS, True)}  # whether higher is better
# Rows and columns of maps of a size that are counted; Eigen et al.'s is of NYU's frames, less their empty border.
CROPS = {"eigen": ((480, 640), (slice(45, 471), slice(41, 601)))}
SMALLEST = 1e-6  # a prediction below it counts as this in logarithms and ratios


class DepthScores:
    """Errors over labelled pixels, of prediction p and truth t.

    ``abs_err`` mean |p - t| and ``rmse``, in the unit of the labels; ``rel_err`` mean |p - t| / t and ``rmse_log`` of
    ln p - ln t, plain numbers; ``delta_x`` the share of pixels with max(p / t, t / p) < x, in percent: Eigen, Puhrsch,
    Fergus, "Depth map prediction from a single image using a multi-scale deep network", NeurIPS 2014,
    https://arxiv.org/abs/1406.2283, section 4.

    Within a range, pixels whose truth is outside it are not counted, and predictions are clipped into it, as in BTS and
    the benchmarks of NYU (0.001 to 10 m) and KITTI (0.001 to 80 m). Of a crop, pixels outside are not counted.
    """

    names = tuple(METRICS)

    def __init__(self, nearest: float = 0.0, farthest: float = math.inf, crop: str = "") -> None:
        """Args: the range of depths, in the unit of the labels; a key of ``CROPS``, or nothing for all pixels."""
        self._nearest, self._farthest, self._crop = nearest, farthest, crop

    def sums(self, prediction: Array, truth: Array) -> Array:
        """Number of pixels, and the sum of each term over them; see ``Scores``."""
        if self._crop:
            size, inside = CROPS[self._crop]
            if truth.shape != size:
                raise DataError(
                    f"the crop {self._crop!r} is of maps of {size[0]} x {size[1]} (height x width), this has "
                    f"{truth.shape[0]} x {truth.shape[1]}: take `depth_crop` out of the data set's metadata"
                )
            prediction, truth = prediction[inside], truth[inside]
        counted = (truth > self._nearest) & (truth < self._farthest)
        t = truth[counted].astype(np.float64)
        p = prediction[counted].astype(np.float64)
        if (self._nearest, self._farthest) != (0, math.inf):
            p = p.clip(self._nearest, self._farthest)
        error, positive = np.abs(p - t), np.maximum(p, SMALLEST)  # NaN stays NaN
        ratio = np.maximum(positive / t, t / positive)
        log = np.log(positive) - np.log(t)
        terms = (error, error / t, error**2, log**2, *(ratio < limit for limit in DELTAS.values()))
        return np.array([len(t), *(term.sum() for term in terms)], np.float64)

    def metrics(self, total: Array) -> dict[str, float]:
        """See the class."""
        means = total[1:] / total[0]
        means[2:4] = np.sqrt(means[2:4])
        means[4:] *= 100
        return dict(zip(self.names, means.tolist(), strict=True))
