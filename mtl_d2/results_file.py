"""``results.json`` of a run: rows of metrics, of which one is the run's own.

{ROW: {GROUP: {METRIC: value or null}}, ..., "own_row": ROW, "notes": [one line each], "definitions": {GROUP: words},
"parameters": number of the model's}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OWN_ROW = "own_row"
NOTES = "notes"
DEFINITIONS = "definitions"
PARAMETERS = "parameters"
CHOSEN = "MTL.SELECT_BY chose "  # how notes begin that say no more than what was chosen when
# Rows for comparison that tools/demo.py added before files said which row is the run's own.
_OTHERS = ("untrained", "best constant", "equal weights (", "SimpleTrainer (")


def rows_of(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a parsed file, in its order."""
    return {n: row for n, row in content.items() if isinstance(row, Mapping) and n != DEFINITIONS}  # type: ignore[misc]


def own_row(content: Mapping[str, Any]) -> str | None:
    """The name of the run's own row; in files that do not say it, the first that is not there for comparison.

    Args:
        content: of a parsed file.

    Returns:
        None if it has no such row.
    """
    rows = rows_of(content)
    named = content.get(OWN_ROW)
    if isinstance(named, str) and named in rows:
        return named
    return next((name for name in rows if not name.startswith(_OTHERS)), None)


def notes_of(content: Mapping[str, Any]) -> list[str]:
    """What is to be known of the run's own row: what failed, what was not evaluated."""
    return list(content.get(NOTES, ()))


def definitions_of(content: Mapping[str, Any]) -> dict[str, str]:
    """By group of the run's own row, whose definition its metrics follow and what it is, where there are several."""
    return dict(content.get(DEFINITIONS, {}))


def parameters_of(content: Mapping[str, Any]) -> int:
    """How many parameters the run's model has, frozen ones included; 0 where the file does not say."""
    number = content.get(PARAMETERS)
    return number if type(number) is int and number > 0 else 0


def metric_names(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Every ``group/metric`` that is not of a single class."""
    return (f"{group}/{name}" for group, metrics in results.items() for name in metrics if "-" not in name)
