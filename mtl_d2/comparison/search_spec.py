"""``searches`` of a comparison file: fixed weights that are looked for at the cost of what they are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_d2.config_check import unknown

RANDOM, GRID, HALVING = WAYS = ("random", "grid", "halving")
KEYS = ("weights", "by", "budget", "candidates", "select", "reference", "seed", "overrides")
OWN = ("MTL.SCALARIZATION.NAME", "MTL.SCALARIZATION.FIXED.WEIGHTS")  # what a search sets in its trials
REQUIRED = "a range [LEAST, MOST] of at least one task, such as {detection: [0.1, 10.0], semantic: 1.0}"


@dataclass(frozen=True)
class Search:
    """One of ``searches``.

    Attributes:
        name: of its row.
        weights: by task a range (least, most), of which the logarithm is what is drawn or divided evenly, or one
            number; tasks that are not named have 1.
        by: one of ``WAYS``.
        budget: updates, or the name of a method or grid that it may cost as much as; None: the one that costs most.
        candidates: how many there are; None: as many as the budget allows.
        select: the criterion, as ``MTL.SELECT_BY``; "" for the one that is there.
        reference: as ``MTL.SELECT_REFERENCE``, for the criterion "delta".
        seed: of the draws and the trials; None: the first of the comparison.
        overrides: config keys and values of all trials, besides the common ones.
    """

    name: str
    weights: Mapping[str, tuple[float, float] | float]
    by: str = RANDOM
    budget: str | int | None = None
    candidates: int | None = None
    select: str = ""
    reference: str = ""
    seed: int | None = None
    overrides: tuple[tuple[str, Any], ...] = ()


def read_search(name: str, given: Any, overrides: Sequence[tuple[str, Any]], mistakes: list[str]) -> Search:
    """One of a file's ``searches``.

    Args:
        name: its name.
        given: what the file says of it.
        overrides: of it, as they were read.
        mistakes: gets one line for each that is found.
    """
    given = given if isinstance(given, dict) else {"weights": given}
    where = f"searches: {name}"
    mistakes += [unknown(f"{where}: a key", key, KEYS) for key in given if key not in KEYS]
    mistakes += [f"{where}: {line}" for line in _mistakes(given)]
    mistakes += [
        f"{where}: overrides has {key}, which the search sets: take it out" for key, _ in overrides if key in OWN
    ]
    weights = given.get("weights")
    weights = weights if isinstance(weights, dict) else {}
    return Search(
        name=name,
        weights={str(task): tuple(value) if isinstance(value, list) else value for task, value in weights.items()},
        by=str(given.get("by", RANDOM)),
        budget=given.get("budget"),
        candidates=given.get("candidates"),
        select=str(given.get("select", "")),
        reference=_listed(given.get("reference", "")),
        seed=given.get("seed"),
        overrides=tuple(overrides),
    )


def _mistakes(given: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong_weights(given.get("weights"))
    by, budget, select = given.get("by", RANDOM), given.get("budget"), given.get("select", "")
    if by not in WAYS:
        yield unknown("by", by, WAYS)
    if budget is not None and not isinstance(budget, str) and not _is_count(budget, 1):
        yield f"budget must be the name of a method or grid, or a number of updates >= 1; got {budget!r}"
    for key, least in (("candidates", 1), ("seed", 0)):
        value = given.get(key)
        if value is not None and not _is_count(value, least):
            yield f"{key} must be a whole number >= {least}, got {value!r}"
    if not isinstance(select, str):
        yield f"select must be one criterion as in MTL.SELECT_BY, such as 'bbox/AP + sem_seg/mIoU', got {select!r}"


def _wrong_weights(weights: Any) -> Iterator[str]:
    if not isinstance(weights, dict) or not weights:
        yield f"weights must be {REQUIRED}; got {weights!r}"
        return
    ranges = 0
    for task, value in weights.items():
        numbers = value if isinstance(value, list) else [value]
        ranges += isinstance(value, list)
        if not all(_is_number(number) for number in numbers) or len(numbers) != 1 + isinstance(value, list):
            yield f"weights of {task} must be a number or a range [LEAST, MOST], got {value!r}"
        elif min(numbers) <= 0:
            yield f"weights of {task} must be > 0, got {value!r}"
        elif isinstance(value, list) and value[0] >= value[1]:
            yield f"weights of {task} must be a range [LEAST, MOST] with LEAST < MOST, got {value!r}"
    if not ranges:
        yield f"weights has no range, so that there is nothing to search: give {REQUIRED}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _listed(value: Any) -> str:
    """Paths with commas between, as ``MTL.SELECT_REFERENCE`` has them."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
