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
        scales: where it belongs to updates, how it follows their number: (value, factor) -> value for ``factor`` times
            as many updates for the same samples; see ``mtl_d2.balancing.counting``. None where it does not.
    """

    default: Any
    help: str
    rule: str = ""
    accepts: Callable[[Any], bool] = _anything
    scales: Callable[[Any, float], Any] | None = None


def number(
    default: float | None,
    help: str,  # noqa: A002  # as argparse has it
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    none: bool = False,
    scales: Callable[[Any, float], Any] | None = None,
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
        scales: see ``Option``.
    """
    limits = [f"> {above:g}"] * (above > -math.inf) + [f">= {least:g}"] * (least > -math.inf)
    limits += [f"< {below:g}"] * (below < math.inf) + [f"<= {most:g}"] * (most < math.inf)

    def accepts(value: Any) -> bool:
        if value is None:
            return none
        known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return known and above < value < below and least <= value <= most

    rule = f"a finite number {' and '.join(limits)}".rstrip() + " or None" * none
    return Option(default, help, rule, accepts, scales)


def whole(
    default: int | None,
    help: str,  # noqa: A002
    *,
    least: int = 1,
    none: bool = False,
    scales: Callable[[Any, float], Any] | None = None,
) -> Option:
    """A whole number >= ``least``; ``none`` and ``scales`` as for ``number``."""

    def accepts(value: Any) -> bool:
        return none if value is None else isinstance(value, int) and not isinstance(value, bool) and value >= least

    return Option(default, help, f"a whole number >= {least}" + " or None" * none, accepts, scales)


def choice(default: Any, help: str, known: Sequence[Any]) -> Option:  # noqa: A002
    """One of the names, or numbers, ``known``."""
    rule = f"one of {', '.join(map(repr, known))}"
    return Option(default, help, rule, lambda value: not isinstance(value, bool) and value in known)


def flag(default: bool, help: str) -> Option:  # noqa: A002
    """True or False."""
    return Option(default, help, "True or False", lambda value: isinstance(value, bool))


def several(help: str, each: Option) -> Option:  # noqa: A002
    """A list whose entries are all of ``each``'s range, by default an empty one."""

    def accepts(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(each.accepts(entry) for entry in value)

    return Option((), help, f"a list in which each entry is {each.rule}", accepts)


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


def defaults(options: Options) -> dict[str, Any]:
    """The default of each of ``options``, by its key."""
    return {key: option.default for key, option in options.items()}


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
