"""Mean and standard error over seeds, and which of several means is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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


def marks(column: Sequence[Summary], higher: bool) -> list[str]:
    """For each of a column: "best", "near" within one standard error of the best (the best's own), or "".

    Nothing is marked where there is nothing to choose from.
    """
    finite = [s for s in column if s.count]
    if len(finite) < 2:
        return ["" for _ in column]
    sign = 1 if higher else -1
    best = max(finite, key=lambda s: sign * s.mean)
    reach = 0.0 if math.isnan(best.error) else best.error
    return [
        "" if not s.count else "best" if s.mean == best.mean else "near" if sign * (best.mean - s.mean) <= reach else ""
        for s in column
    ]
