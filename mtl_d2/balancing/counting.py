"""How a number that belongs to updates changes where an update is made of more samples, or fewer.

A rule takes the number and the factor by which there are more updates for the same samples: 1/8 where eight processes
train what one did. What is no number > 0 is left to the method's own check. An option names its rule
(``mtl_d2.options.Option.scales``).
"""

from __future__ import annotations

from typing import Any


def updates(number: Any, factor: float) -> Any:
    """A number of updates: as many samples as before, and at least one update."""
    return max(1, round(number * factor)) if _is_positive(number) else number


def per_update(amount: Any, factor: float) -> Any:
    """What is added in each update: as much over the same samples."""
    return amount / factor if _is_positive(amount) else amount


def factor_per_update(ratio: Any, factor: float) -> Any:
    """What is multiplied by in each update: as much over the same samples."""
    return ratio ** (1 / factor) if _is_positive(ratio) else ratio


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
