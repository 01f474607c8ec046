"""Lines that are said of data sets, together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Findings:
    """What is refused and what is warned of: each line once, with the data sets that it concerns."""

    _refused: dict[str, list[str]] = field(default_factory=dict)
    _warned: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, lines: Iterable[str], *names: str) -> None:
        """Adds what keeps the data sets ``names`` from being trained on or evaluated; without names, the config."""
        _add(self._refused, lines, names)

    def warn(self, lines: Iterable[str], *names: str) -> None:
        """Adds what may be meant so, but is seldom."""
        _add(self._warned, lines, names)

    @property
    def refused(self) -> list[str]:
        """One line each."""
        return _lines(self._refused)

    @property
    def warned(self) -> list[str]:
        """One line each."""
        return _lines(self._warned)


def _add(kept: dict[str, list[str]], lines: Iterable[str], names: tuple[str, ...]) -> None:
    for line in lines:
        concerned = kept.setdefault(line, [])
        concerned += [name for name in names if name not in concerned]


def _lines(kept: dict[str, list[str]]) -> list[str]:
    return [f"{', '.join(names)}: {line}" if names else line for line, names in kept.items()]


def some(names: Iterable[object], shown: int = 5) -> str:
    """The first of ``names``, and how many there are besides."""
    given = [str(name) for name in names]
    rest = len(given) - shown
    return ", ".join(given[:shown]) + (f" and {rest} more" if rest > 0 else "")
