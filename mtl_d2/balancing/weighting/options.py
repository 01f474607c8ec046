"""Rules for options that several weightings have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mtl_d2.balancing.base import Setup

FLOOR = 1e-12  # the least weight where a weight of 0 would leave a mean of the losses undefined


def check_number(
    options: Mapping[str, object], key: str, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> list[str]:
    """A complaint if the option ``key`` is not a finite number with ``above`` < it, ``least`` <= it <= ``most``."""
    value = options[key]
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and least <= number <= most and number > above:
        return []
    rules = [f"> {above:g}"] * (above > -math.inf) + [f">= {least:g}"] * (least > -math.inf)
    rules += [f"<= {most:g}"] * (most < math.inf)
    return [f"{key.upper()} must be a finite number {' and '.join(rules)}".rstrip() + f", got {value!r}"]


def check_whole(options: Mapping[str, object], key: str) -> list[str]:
    """A complaint if the option ``key`` is not a whole number >= 1."""
    value = options[key]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return []
    return [f"{key.upper()} must be a whole number >= 1, got {value!r}"]


def check_choice(options: Mapping[str, object], key: str, known: Sequence[str]) -> list[str]:
    """A complaint if the option ``key`` is none of ``known``."""
    if options[key] in known:
        return []
    return [f"{key.upper()} must be one of {', '.join(map(repr, known))}, got {options[key]!r}"]


def check_length(options: Mapping[str, object], key: str, setup: Setup, what: str, empty: bool = True) -> list[str]:
    """A complaint if the option ``key`` has not one entry for each task; ``empty``: none at all will do too."""
    value = options[key]
    assert isinstance(value, Sequence)
    if len(value) == setup.num_tasks or (empty and not value):
        return []
    return [f"{key.upper()} needs {what} for each of the {setup.num_tasks} tasks {setup.tasks}, got {tuple(value)}"]
