"""Mean and standard error over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Summary:
    """Several values of one quantity.

    Attributes:
        mean: of the finite ones; NaN if there are none.
        error: standard error of the mean, standard deviation (n - 1) / sqrt(n); NaN below two values.
        count: how many values are finite.
    """

    mean: float
    error: float
    count: int


def summarize(values: Iterable[float]) -> Summary:
    """The summary of ``values``; those that are NaN or infinite are left out."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Summary(math.nan, math.nan, 0)
    error = stdev(finite) / math.sqrt(len(finite)) if len(finite) > 1 else math.nan
    return Summary(fmean(finite), error, len(finite))
