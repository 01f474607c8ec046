"""Options: the keys of a config, each declared once with its default, its meaning and its range.

Methods, kinds of tasks, heads, trunks and models declare their own. The config's keys, what ``config_check`` refuses,
and the tables of the docs are all made of these declarations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def _anything(value: Any) -> bool:
    return True


@dataclass(frozen=True)
class Option:
    """One key of a config.

    Attributes:
        default: its value where a config says nothing.
        help: what it means: unit, symbol in the paper.
        rule: what values it takes, in words that follow "must be"; empty = any of the default's type.
        accepts: whether it takes a value.
    """

    default: Any
    help: str
    rule: str = ""
    accepts: Callable[[Any], bool] = _anything


def number(
    default: float | None,
    help: str,  # noqa: A002  # as argparse has it
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    none: bool = False,
) -> Option:
    """A finite number with ``above`` < it < ``below`` and ``least`` <= it <= ``most``.

    Args:
        default: where a config says nothing.
        help: what it means.
        least: included.
        above: excluded.
        most: included.
        below: excluded.
        none: whether None will do too.
    """
    limits = [f"> {above:g}"] * (above > -math.inf) + [f">= {least:g}"] * (least > -math.inf)
    limits += [f"< {below:g}"] * (below < math.inf) + [f"<= {most:g}"] * (most < math.inf)

    def accepts(value: Any) -> bool:
        if value is None:
            return none
        known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return known and above < value < below and least <= value <= most

    return Option(default, help, f"a finite number {' and '.join(limits)}".rstrip() + " or None" * none, accepts)


def whole(default: int, help: str, *, least: int = 1) -> Option:  # noqa: A002
    """A whole number >= ``least``."""
    return Option(
        default,
        help,
        f"a whole number >= {least}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
    )


def choice(default: str, help: str, known: Sequence[str]) -> Option:  # noqa: A002
    """One of the names ``known``."""
    return Option(default, help, f"one of {', '.join(map(repr, known))}", lambda value: value in known)


Options = Mapping[str, Option]
_DECLARED: dict[str, dict[str, Option]] = {}  # by node of the config


def declare(node: str, options: Options) -> None:
    """Has configs from now on hold ``options`` (by key) in ``node``, such as "MODEL.FCOS".

    A file named in ``MTL.DATA.MODULES`` may declare those of its own models; declared again, they replace the first.
    """
    _DECLARED.setdefault(node, {}).update(options)


def declared() -> Iterator[tuple[str, Options]]:
    """Every node with its options, in the order of their declaration."""
    yield from _DECLARED.items()


def wrong_values(options: Options, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One sentence for each of ``values`` that its option does not take.

    Args:
        options: by key.
        values: by the same keys; those that are missing are not looked at.
        prefix: of the keys in the sentences.
    """
    return [
        f"{prefix}{key} must be {option.rule}, got {values[key]!r}"
        for key, option in options.items()
        if key in values and not option.accepts(values[key])
    ]


def table(options: Options) -> str:
    """A Markdown table of ``options`` by key."""
    rows = [
        f"| `{key}` | `{option.default!r}` | {option.help.replace('|', chr(92) + '|')} | {option.rule} |"
        for key, option in options.items()
    ]
    return "\n".join(["| key | default | meaning | must be |", "|---|---|---|---|", *rows])
