"""Results of single-task runs that a multi-task run is compared with while it trains: ``MTL.SELECT_REFERENCE``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_d2.evaluation.delta import Metric
from mtl_d2.evaluation.main_metrics import main_metrics
from mtl_d2.results_file import metric_names, own_row, rows_of
from mtl_d2.tasks.registry import is_known, kinds_of

KEY = "MTL.SELECT_REFERENCE"


def read_reference(paths: str, tasks: Sequence[str]) -> tuple[dict[str, float], tuple[Metric, ...]]:
    """The values of the main metrics of some tasks, and these metrics.

    Args:
        paths: ``results.json`` files of runs, or their folders, with commas between them; of a metric that several of
            them have, the first counts.
        tasks: of the run that is compared.

    Raises:
        ValueError: a line for each file that is no such one, or each task that none of them has figures of.
    """
    if not paths.strip():
        raise ValueError(f"MTL.SELECT_BY 'delta' needs {KEY}: the results.json of single-task runs, commas between")
    rows = [_own_row(Path(path.strip())) for path in paths.split(",")]
    values: dict[str, float] = {}
    for row in reversed(rows):
        values |= {name: _value(row, name) for name in metric_names(row)}
    known = kinds_of(filter(is_known, tasks))
    counted = {kind.group for kind in known} | set(tasks)
    usable = [name for name, value in values.items() if math.isfinite(value) and value]
    measures = tuple(measure for measure in main_metrics(usable) if measure.task in counted)
    there = {measure.task for measure in measures}
    missing = [kind.task for kind in known if not {kind.group, kind.task} & there]
    if missing:
        raise ValueError(
            f"{KEY} {paths!r} has no main metric, other than 0 and nan, of {' and '.join(map(repr, missing))}; it has "
            f"{', '.join(usable) or 'none'}: name the results.json of a run of each task"
        )
    return {measure.name: values[measure.name] for measure in measures}, measures


def _own_row(path: Path) -> Mapping[str, Mapping[str, Any]]:
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{KEY}: {file} cannot be read: {error}") from error
    name = own_row(content) if isinstance(content, Mapping) else None
    if name is None:
        raise ValueError(f"{KEY}: {file} is no results.json of a run: it has no row of metrics")
    return rows_of(content)[name]


def _value(row: Mapping[str, Mapping[str, Any]], metric: str) -> float:
    group, _, name = metric.partition("/")
    value = row[group][name]
    return math.nan if value is None else float(value)
