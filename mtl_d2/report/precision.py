"""The numbers of a column as text, at one precision that fits them, and which are the best at that precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mtl_d2.evaluation.delta import direction
from mtl_d2.tasks.registry import kind_of_group

# Groups all of whose metrics are percentages of which higher is better, those of a single class included.
PERCENT_GROUPS = frozenset({"keypoints", "box_proposals", "panoptic_seg"})  # of no kind of task of ours
DIGITS = 4  # of the largest value of a column that are shown
UNDEFINED = "nan"


@dataclass(frozen=True)
class Precision:
    """How the values of a column are written.

    Attributes:
        decimals: digits after the point.
        exponent: of the power of ten that all of them are multiples of.
    """

    decimals: int
    exponent: int = 0

    def __call__(self, value: float) -> str:
        """The value as text; ``nan`` where it is not finite."""
        if not math.isfinite(value):
            return UNDEFINED
        rounded = round(value / 10.0**self.exponent, self.decimals) or 0.0  # no negative zero
        return f"{rounded:.{self.decimals}f}" + (f"e{self.exponent}" if self.exponent and rounded else "")


def precision_of(values: Iterable[float], percent: int | None = None) -> Precision:
    """The precision of a column.

    Args:
        values: of the column; those that are not finite do not count.
        percent: decimals if the values are percentages, which are read on a scale of their own; None: four digits of
            the largest.
    """
    if percent is not None:
        return Precision(percent)
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return Precision(2)
    exponent = math.floor(math.log10(largest))
    if -4 < exponent < 7:
        return Precision(max(DIGITS - 1 - exponent, 0))
    return Precision(DIGITS - 1, max(exponent, -300))


def metric_precision(name: str, values: Iterable[float], percent: int) -> Precision:
    """The precision of the metric `group/name`, with so many decimals if it is a percentage."""
    return precision_of(values, percent if is_percentage(name) else None)


def best(texts: Sequence[str], values: Sequence[float], higher: bool) -> list[bool]:
    """Which values of a column are the best as far as its texts tell; none where all are equal or one is alone."""
    finite = [i for i, value in enumerate(values) if math.isfinite(value)]
    if len({texts[i] for i in finite}) < 2:
        return [False for _ in texts]
    top = texts[(max if higher else min)(finite, key=lambda i: values[i])]
    return [i in finite and text == top for i, text in enumerate(texts)]


def evaluator(group: str) -> str:
    """What kind of metrics a group holds, without its data set: `bbox` for `bbox`, `my_set/bbox` and `bbox@my_set`."""
    return group.rpartition("/")[2].partition("@")[0]


def is_percentage(name: str) -> bool:
    """Whether the metric `group/name` is a percentage."""
    group = evaluator(name.rpartition("/")[0])
    kind = kind_of_group(group)
    whole = group in PERCENT_GROUPS if kind is None else all(kind.metrics.values())
    return whole or direction(name) is True


def higher_is_better(name: str) -> bool | None:
    """Whether higher is better in the metric `group/name`; None if that is not known."""
    return True if is_percentage(name) else direction(name)
