"""The mean of a quantity over batches, and how far it can be off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

CONFIDENCE = 0.95
RESAMPLES = 2000
COLUMNS = 512  # at a time: memory stays small


@dataclass(frozen=True)
class Estimate:
    """A mean over batches.

    Attributes:
        mean: of the batches.
        low: lower end of the interval that holds the mean of all batches with 95 % confidence.
        high: upper end; as ``low`` NaN below two batches.
        batches: how many the quantity is defined in, >= 1.
    """

    mean: float
    low: float
    high: float
    batches: int


def estimates(values: np.ndarray, seed: int = 0) -> list[Estimate | None]:
    """The mean of each column, with its bootstrap interval.

    Batches are drawn with replacement among those that a column is defined in. The quantiles are those of Hesterberg's
    "expanded" percentile interval, which is as wide for few batches as Student's t would have it ("What teachers should
    know about the bootstrap", 2015, https://arxiv.org/abs/1411.5279, section 5.3 of the arXiv text).

    Args:
        values: (B, K), one row for each batch; NaN where the quantity is not defined.
        seed: of the draws.

    Returns:
        K estimates; None for a column that is defined in no batch.
    """
    answers: list[Estimate | None] = [None] * values.shape[1]
    masks = np.isfinite(values)
    for pattern in np.unique(masks, axis=1).T:
        columns = np.flatnonzero((masks == pattern[:, None]).all(axis=0))
        for start in range(0, len(columns), COLUMNS) if pattern.any() else ():
            some = columns[start : start + COLUMNS]
            for column, estimate in zip(some, _estimates(values[pattern][:, some], seed), strict=True):
                answers[column] = estimate
    return answers


def _estimates(values: np.ndarray, seed: int) -> list[Estimate]:
    """Of (n, K) finite values."""
    n = len(values)
    means = values.mean(axis=0)
    if n < 2:
        return [Estimate(float(mean), math.nan, math.nan, n) for mean in means]
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n  # (R, n)
    tail = ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - CONFIDENCE) / 2))
    low, high = np.quantile(draws @ values, [tail, 1 - tail], axis=0)
    return [Estimate(float(m), float(a), float(b), n) for m, a, b in zip(means, low, high, strict=True)]
