"""Words as they are typed in a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

_LITERAL = re.compile(r"[^\"$`\\!]*")  # what stands for itself between double quotes


def quoted(words: Iterable[str]) -> str:
    """One line; ``"['depth']"`` where shlex would write a quote for each quote within."""
    return " ".join(f'"{word}"' if "'" in word and _LITERAL.fullmatch(word) else shlex.quote(word) for word in words)
