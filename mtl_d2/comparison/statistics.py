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


def marks(column: Sequence[Summary], texts: Sequence[str], higher: bool) -> list[str]:
    """For each of a column: "best", "near" or "".

    The best is "best", with those that are equal to it as far as the texts tell. Where others are within the noise, one
    standard error of the difference of two means, nobody knows which is the best: then all of them are "near", the best
    itself included. Nothing is marked where there is nothing to choose from, or all are equal.

    Args:
        column: the summaries.
        texts: their means as they are shown.
        higher: whether higher is better.
    """
    finite = [i for i, s in enumerate(column) if s.count]
    if len({texts[i] for i in finite}) < 2:
        return ["" for _ in column]
    sign = 1 if higher else -1
    top = max(finite, key=lambda i: sign * column[i].mean)
    tied = {i for i in finite if texts[i] == texts[top]}
    noisy = {i for i in finite if abs(column[top].mean - column[i].mean) <= _noise(column[top], column[i])}
    mark, marked = ("best", tied) if noisy <= tied else ("near", tied | noisy)
    return [mark if i in marked else "" for i in range(len(column))]


def _noise(first: Summary, second: Summary) -> float:
    """Standard error of the difference of two means; a single run has none."""
    return math.hypot(*(0.0 if math.isnan(s.error) else s.error for s in (first, second)))
