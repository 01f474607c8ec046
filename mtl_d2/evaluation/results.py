"""Results of several test sets in one table, and the file that keeps them."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tabulate import tabulate
from torch import nn

from mtl_d2.evaluation.errors import EvaluationError
from mtl_d2.files import write_atomically
from mtl_d2.results_file import DEFINITIONS, NOTES, OWN_ROW, PARAMETERS, rows_of

Results = Mapping[str, Mapping[str, Any]]


class EvaluationResults(OrderedDict):
    """Metrics by group, and what is to be known of them.

    Attributes:
        failures: one line for each evaluator that failed; its metrics are missing.
        notes: one line for whatever else is missing.
        definitions: by group, what its metrics are and whose tool says so, where there are several definitions.
    """

    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = MappingProxyType({})

    def __missing__(self, group: str) -> dict[str, float]:
        """No metrics, of a group that may have failed: detectron2's verification then says that it is not as expected.

        Raises:
            KeyError: nothing failed.
        """
        if not self.failures:
            raise KeyError(group)
        return {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """All lines that belong beside the metrics."""
        return (*self.failures, *self.notes)

    def require_complete(self) -> None:
        """Raises EvaluationError: an evaluator failed."""
        if self.failures:
            raise EvaluationError("\n".join(self.failures))


def merge_results(results: Mapping[str, Results]) -> OrderedDict:
    """One result by metric group, of the results by test set; see ``merged_groups``."""
    return OrderedDict((merged, results[name][group]) for merged, (name, group) in merged_groups(results).items())


def merged_groups(results: Mapping[str, Results]) -> dict[str, tuple[str, str]]:
    """The test set and the group there of each group of the merged results.

    A group that several test sets have, such as ``bbox``, is named ``<group>@<data set>`` from the second one on.
    """
    merged: dict[str, tuple[str, str]] = {}
    for name, groups in results.items():
        for group in groups:
            merged[group if group not in merged else f"{group}@{name}"] = (name, group)
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


def add_results_row(
    output_dir: str | Path,
    name: str,
    results: Results,
    *,
    own: bool = False,
    notes: Sequence[str] = (),
    parameters: int = 0,
) -> None:
    """Writes ``results`` as the row ``name`` of ``OUTPUT_DIR/results.json``, keeping the other rows.

    Args:
        output_dir: the run's folder.
        name: of the row; one of that name is replaced.
        results: metrics by group; NaN becomes null.
        own: whether it is the row that says what the run came to; the others are there to be compared with it.
        notes: with ``own``: what is to be known of it, a line each, in the place of what was noted before.
        parameters: with ``own``: how many the model has; 0 = unknown.
    """
    path = Path(output_dir, "results.json")
    content = _read(path)
    rows = rows_of(content)
    rows[name] = {group: {k: _number(v) for k, v in metrics.items()} for group, metrics in results.items()}
    known = {key: content.get(key) for key in (OWN_ROW, NOTES, DEFINITIONS, PARAMETERS)}
    if own:
        definitions = dict(getattr(results, "definitions", {}))
        known = {OWN_ROW: name, NOTES: list(notes), DEFINITIONS: definitions, PARAMETERS: parameters}
    write_atomically(path, json.dumps(rows | {key: value for key, value in known.items() if value}, indent=1))


def number_of_parameters(model: nn.Module) -> int:
    """How many parameters a model has, frozen ones included and shared ones once; buffers are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def _read(path: Path) -> dict[str, Any]:
    """The file as it is; empty if there is none, or none that can be read: new results are not lost for an old file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
