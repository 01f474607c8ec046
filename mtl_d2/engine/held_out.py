"""``held_out.json`` of a run: what the images held out of training gave after a number of updates.

{UPDATES: {GROUP: {METRIC: value or null}}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_d2.files import write_atomically

FILE = "held_out.json"


def add_held_out(folder: str | Path, updates: int, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds an evaluation of the model after so many updates, in the place of an earlier one of the same.

    Args:
        folder: the run's.
        updates: of the training, >= 1.
        results: metrics by group; what is no finite number becomes null.
    """
    content = read_held_out(folder)
    content[updates] = {group: dict(metrics) for group, metrics in results.items()}
    plain = {
        str(made): {g: {name: _number(value) for name, value in metrics.items()} for g, metrics in groups.items()}
        for made, groups in sorted(content.items())
    }
    write_atomically(Path(folder, FILE), json.dumps(plain, indent=1))


def read_held_out(folder: str | Path) -> dict[int, dict[str, dict[str, float]]]:
    """Metrics by group, by the number of updates that they came after; empty where there is no such file, or no JSON.

    What was no finite number is NaN.
    """
    try:
        content = json.loads(Path(folder, FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {
        int(made): {g: {name: _float(value) for name, value in metrics.items()} for g, metrics in groups.items()}
        for made, groups in content.items()
    }


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _float(value: float | None) -> float:
    return math.nan if value is None else value
