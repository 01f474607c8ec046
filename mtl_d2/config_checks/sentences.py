"""Sentences that several checks need."""

from __future__ import annotations

import difflib


def unknown(key: str, value: object, known: tuple[str, ...]) -> str:
    """A sentence that says that ``value`` is not one of ``known``, with the nearest of them."""
    near = difflib.get_close_matches(str(value), known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{key} is {value!r}, which is none of {', '.join(map(repr, known))}{guess}"
