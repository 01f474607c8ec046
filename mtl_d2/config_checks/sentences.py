"""Sentences that several checks need."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def unknown(key: str, value: object, known: tuple[str, ...]) -> str:
    """A sentence that says that ``value`` is not one of ``known``, with the nearest of them."""
    near = difflib.get_close_matches(str(value), known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{key} is {value!r}, which is none of {', '.join(map(repr, known))}{guess}"


def the_first(names: Sequence[str], shown: int = 5) -> str:
    """The first of some names, and how many more there are."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
