"""Results of several test sets in one table, and the file that keeps them."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mtl_d2.files import write_atomically

Results = Mapping[str, Mapping[str, Any]]


def merge_results(results: Mapping[str, Any], datasets: Sequence[str]) -> OrderedDict:
    """One result by metric group, of what ``DefaultTrainer.test`` returns for one or several test sets.

    A group that several test sets have, such as ``bbox``, is named ``<group>@<data set>`` from the second one on.
    """
    if len(datasets) == 1:
        return OrderedDict(results)
    merged: OrderedDict = OrderedDict()
    for name in datasets:
        for group, metrics in (results.get(name) or {}).items():
            merged[group if group not in merged else f"{group}@{name}"] = metrics
    return merged


def flat_table(results: Results) -> str:
    """A table with a row for each metric that is not of a single class."""
    rows = [
        (group, metric, value)
        for group, metrics in results.items()
        for metric, value in metrics.items()
        if "-" not in metric
    ]
    return tabulate(rows, headers=["group", "metric", "value"], floatfmt=".3f", tablefmt="pipe")


def add_results_row(output_dir: str | Path, name: str, results: Results) -> None:
    """Writes ``results`` as the row ``name`` of ``OUTPUT_DIR/results.json``, keeping the other rows."""
    path = Path(output_dir, "results.json")
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows[name] = {group: {k: _number(v) for k, v in metrics.items()} for group, metrics in results.items()}
    write_atomically(path, json.dumps(rows, indent=1))


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
