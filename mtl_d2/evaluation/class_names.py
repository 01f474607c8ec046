"""Names of classes that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def told_apart(names: Iterable[str]) -> list[str]:
    """The names; one that several classes have gets the class's id behind it, so that each has its own metric."""
    given = [str(name) for name in names]
    count = Counter(given)
    return [f"{name} ({i})" if count[name] > 1 else name for i, name in enumerate(given)]
