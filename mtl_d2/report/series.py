"""Logged scalars as arrays: reading detectron2's `metrics.json`, running averages, thinning."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

BEYOND = 1e30  # a diverged run's values of this size and above are as good as infinite, and break axes
CUT = "metrics.json: the last line is cut, as after a kill; it was left out."


@dataclass(frozen=True)
class Series:
    """One scalar over training.

    Attributes:
        name: its key in `metrics.json`.
        updates: (K,) strictly increasing iteration numbers.
        values: (K,) finite, below `BEYOND`.
        gaps: (G,) iteration numbers whose logged values were not, and are left out; increasing.
    """

    name: str
    updates: Floats
    values: Floats
    gaps: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def last(self) -> float:
        """The last logged value, NaN if it was left out."""
        ends_in_gap = not len(self.updates) or (len(self.gaps) > 0 and self.gaps[-1] > self.updates[-1])
        return math.nan if ends_in_gap else float(self.values[-1])


def read_series(lines: Sequence[str]) -> tuple[dict[str, Series], list[str]]:
    """Series of a `metrics.json`, and what was wrong with it.

    A resumed run goes back: what an earlier process logged of a scalar at or after the first update logged anew is
    dropped, since that part of the training was undone.

    Args:
        lines: the file's lines; a line that is no JSON object is left out and reported.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    bad: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _row(line)
        if row is None:
            bad.append(number)
            continue
        iteration = row.pop("iteration")
        for name, value in row.items():
            history = points.setdefault(name, [])
            while history and history[-1][0] >= iteration:
                history.pop()
            history.append((iteration, value))
    series = {name: _finite(name, history) for name, history in points.items()}
    return series, _problems(bad, len(lines), series.values())


def running_average(values: Floats) -> tuple[Floats, int]:
    """Bias-corrected exponential running average, and about how many points it spans.

    Args:
        values: (K,) finite. The span is K / 20, at least 3 and at most 100.
    """
    span = int(min(max(len(values) / 20, 3), 100))
    return pd.Series(values).ewm(span=span).mean().to_numpy(), span


def thinned(x: Floats, y: Floats, limit: int) -> tuple[Floats, Floats]:
    """At most `limit` points, evenly spread, the first and the last among them."""
    if len(x) <= limit:
        return x, y
    keep = np.unique(np.linspace(0, len(x) - 1, limit).round().astype(int))
    return x[keep], y[keep]


def is_number(value: object) -> bool:
    """Whether JSON gave a number that a float can hold; integers have no limit there."""
    return not isinstance(value, bool) and (isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63))


def _row(line: str) -> dict[str, float] | None:
    """Numbers of one line; None if it is not an object with an iteration."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    row = {key: math.nan if value is None else value for key, value in row.items()}
    numbers = {str(key): float(value) for key, value in row.items() if is_number(value)}
    return numbers if 0 <= numbers.get("iteration", -1.0) < BEYOND else None


def _finite(name: str, history: Sequence[tuple[float, float]]) -> Series:
    table = np.asarray(history, dtype=np.float64).reshape(-1, 2)
    good = np.abs(table[:, 1]) < BEYOND  # false for NaN
    return Series(name, table[good, 0], table[good, 1], table[~good, 0])


def _problems(bad: Sequence[int], count: int, series: Iterable[Series]) -> list[str]:
    problems = []
    if bad and bad[-1] == count:
        problems.append(CUT)
        bad = bad[:-1]
    if bad:
        problems.append(
            f"metrics.json: {len(bad)} lines are not JSON objects with an iteration, the first is line {bad[0]}."
        )
    # A metric of one class, `bbox/AP-train`, is NaN where the test set does not have the class: no cause for alarm.
    gaps = [f"{s.name} ({len(s.gaps)})" for s in series if len(s.gaps) and "-" not in s.name]
    if gaps:
        problems.append(f"Values that are NaN, infinite or beyond 1e30 are left out of the figures: {', '.join(gaps)}.")
    return problems
