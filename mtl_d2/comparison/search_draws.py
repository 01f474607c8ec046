"""Candidates of a search: which weights are tried."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence

from mtl_d2.comparison.search_spec import GRID

DIGITS = 4  # of a weight, so that a file, a page and a config hold the same number

Ranges = Sequence[tuple[float, float]]


def candidates(
    by: str, weights: Mapping[str, tuple[float, float] | float], tasks: Sequence[str], count: int, seed: int
) -> list[tuple[float, ...]]:
    """Weights of each candidate, one for each task.

    Only their ratios are searched: each candidate's are scaled to the sum T, the number of tasks, which is the sum of
    equal weights. With another sum the learning rate of everything shared would be another, and that would be tuned.

    Args:
        by: one of ``search_spec.WAYS``.
        weights: of a search.
        tasks: ``MTL.TASKS``.
        count: how many; of a grid over m ranges a power of m.
        seed: of the draws, which depend on nothing else: the first ones of a longer search are those of a shorter.
    """
    ranged = {task: bounds for task in tasks if isinstance(bounds := weights.get(task, 1.0), tuple)}
    choose = _grid if by == GRID else _draws
    chosen = [dict(zip(ranged, point, strict=True)) for point in choose(list(ranged.values()), count, seed)]
    fixed = {task: value for task, value in weights.items() if not isinstance(value, tuple)}
    return [_scaled([float({**fixed, **point}.get(task, 1.0)) for task in tasks]) for point in chosen]


def points_per_range(count: int, ranges: int) -> int:
    """How many values of each range a grid of at most ``count`` points has, >= 1."""
    points = round(count ** (1 / ranges))
    return points if points**ranges <= count else points - 1


def _draws(ranges: Ranges, count: int, seed: int) -> list[list[float]]:
    """Log-uniform draws."""
    generator = random.Random(seed)
    return [[math.exp(generator.uniform(math.log(low), math.log(high))) for low, high in ranges] for _ in range(count)]


def _grid(ranges: Ranges, count: int, seed: int) -> list[Sequence[float]]:
    """Evenly in the logarithm, the bounds included; a single point is the middle."""
    points = points_per_range(count, len(ranges))
    return list(itertools.product(*(_spread(low, high, points) for low, high in ranges)))


def _spread(low: float, high: float, points: int) -> list[float]:
    if points == 1:
        return [math.sqrt(low * high)]
    return [low * (high / low) ** (i / (points - 1)) for i in range(points)]


def _scaled(weights: Sequence[float]) -> tuple[float, ...]:
    total = sum(weights)
    return tuple(float(f"{len(weights) * weight / total:.{DIGITS}g}") for weight in weights)
