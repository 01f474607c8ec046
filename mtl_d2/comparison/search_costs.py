"""How many updates a search makes, and how many candidates that leaves it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_d2.comparison.search_draws import points_per_range
from mtl_d2.comparison.search_spec import GRID, HALVING

HALVINGS = 4  # at most: no candidate is judged before a 16th of its updates


@dataclass(frozen=True)
class Rung:
    """Where candidates are judged.

    Attributes:
        updates: of the training, that each has made there.
        candidates: how many come there.
    """

    updates: int
    candidates: int


def rungs(by: str, count: int, updates: int) -> list[Rung]:
    """Where candidates are judged, and how many are left there; only the last rung's candidates run to their end.

    Successive halving (K. Jamieson, A. Talwalkar: Non-stochastic best arm identification and hyperparameter
    optimization, AISTATS 2016, https://arxiv.org/abs/1502.07943) with the rate 2: at each rung the worse half stops, of
    an odd number the smaller half, and the others come twice as far. Differs from it: at most ``HALVINGS`` of them, so
    that more than one candidate may run to the end, and then the end decides.

    Args:
        by: one of ``search_spec.WAYS``.
        count: candidates that begin.
        updates: of a whole run.
    """
    halvings = min(HALVINGS, _halvings_to_one(count), int(math.log2(updates))) if by == HALVING else 0
    left = [count]
    for _ in range(halvings):
        left.append(math.ceil(left[-1] / 2))
    return [Rung(updates // 2 ** (halvings - i), number) for i, number in enumerate(left)]


def _halvings_to_one(count: int) -> int:
    return (count - 1).bit_length()


def cost(ladder: Sequence[Rung]) -> int:
    """Updates of all candidates, none of which is repeated."""
    before = [0, *(rung.updates for rung in ladder)]
    return sum(rung.candidates * (rung.updates - start) for rung, start in zip(ladder, before, strict=False))


def most_candidates(by: str, ranges: int, updates: int, available: int) -> int:
    """The largest number of candidates whose trials make at most ``available`` updates; 0 if one is too many.

    Args:
        by: one of ``search_spec.WAYS``.
        ranges: how many tasks have one.
        updates: of a whole run.
        available: in all.
    """
    at_most = available * 2**HALVINGS // updates  # each makes a 16th of its updates at least
    fitting = (n for n in range(at_most, 0, -1) if cost(rungs(by, n, updates)) <= available)
    largest = next(fitting, 0)
    return points_per_range(largest, ranges) ** ranges if by == GRID and largest else largest
