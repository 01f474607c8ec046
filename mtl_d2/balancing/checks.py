"""Whether a method's options make sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_d2.balancing.interfaces import Setup
from mtl_d2.options import wrong_values


def mistakes(method: Any, values: Mapping[str, Any], setup: Setup, prefix: str = "") -> list[str]:
    """One sentence for every rule that ``values`` of a method's options break; empty if none.

    Args:
        method: a class with ``options`` and ``check``.
        values: of each option.
        setup: of the run.
        prefix: of the keys in sentences about one of them.
    """
    options = {key.upper(): option for key, option in method.options.items()}
    wrong = wrong_values(options, {key.upper(): value for key, value in values.items()}, prefix)
    return wrong + [f"{prefix.rstrip('.')}: {line}" if prefix else line for line in method.check(values, setup)]


def not_one_each(values: Mapping[str, Any], key: str, setup: Setup, what: str, empty: bool = True) -> list[str]:
    """A complaint if the option ``key`` has not one entry for each task; ``empty``: none at all will do too."""
    value = values[key]
    if len(value) == setup.num_tasks or (empty and not value):
        return []
    return [f"{key.upper()} needs {what} for each of the {setup.num_tasks} tasks {setup.tasks}, got {tuple(value)}"]
