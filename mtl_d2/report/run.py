"""What a run left in its folder, whole or not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mtl_d2.report.file_names import CONFIG, METRICS, PICTURE_FOLDER, PICTURE_INDEX, RESULTS
from mtl_d2.report.precision import PERCENT_GROUPS, evaluator
from mtl_d2.report.series import Series, is_number, read_series
from mtl_d2.results_file import DEFINITIONS, NOTES, own_row, parameters_of, rows_of
from mtl_d2.tasks.registry import kind_of_group

NO_PICTURES = "there are no pictures"
Groups = dict[str, dict[str, float]]  # {group: {metric: value}}; NaN where the evaluator gave no number
Results = dict[str, Groups]  # {row: groups}, e.g. {"mclgs + mean": {"bbox": {"AP": 25.1}}}

# Groups of no kind of task of ours: detectron2's evaluators write the first, comparisons the last.
OTHER_GROUPS = PERCENT_GROUPS | {"delta"}


@dataclass(frozen=True)
class Run:
    """Everything the report knows about a run.

    Attributes:
        folder: OUTPUT_DIR.
        config: the parsed config, empty if there is none.
        config_text: the config as it stands in the file.
        series: logged scalars by name.
        results: rows to compare, from `results.json`.
        own_row: which of them is the run's own; "" if there is none.
        notes: what is missing in its own results, a line each: what failed, what was not evaluated.
        definitions: by group, whose definition its numbers follow.
        pictures: the index that `write_pictures` wrote, empty if there is none.
        problems: one sentence for each thing that is missing or broken.
        parameters: how many the model has; 0 where `results.json` does not say.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    series: dict[str, Series] = field(default_factory=dict)
    results: Results = field(default_factory=dict)
    own_row: str = ""
    notes: list[str] = field(default_factory=list)
    definitions: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    parameters: int = 0

    def setting(self, key: str, default: Any = None) -> Any:
        """Value of a dotted config key, e.g. `SOLVER.BASE_LR`."""
        node: Any = self.config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return default
            node = node[part]
        return node

    @property
    def updates(self) -> int:
        """Number of optimizer updates that the log knows of."""
        kinds = [s for name, s in self.series.items() if not self.is_metric(name)]
        last = max((int(s.updates[-1]) + 1 for s in kinds if len(s.updates)), default=0)
        planned = self.setting("SOLVER.MAX_ITER")
        return min(last, planned) if isinstance(planned, int) and planned > 0 else last

    @property
    def seconds(self) -> float:
        """Time of all updates, from the logged time per update; 0 if it was not logged."""
        time = self.series.get("time")
        if time is None or not len(time.values):
            return 0.0
        return float(np.sum(time.values * np.diff(time.updates, prepend=-1.0)))

    def is_metric(self, name: str) -> bool:
        """Whether a series holds evaluation results, e.g. `bbox/AP`, `my_set/bbox/AP` or `bbox@my_set/AP`.

        Those are the groups of kinds of tasks, and whatever results.json holds; not what is logged of a task by its
        name, such as `weight/depth/near`.
        """
        tasks = self.setting("MTL.TASKS")
        if isinstance(tasks, list | tuple) and any(name.endswith(f"/{task}") for task in tasks):
            return False
        path, slash, _ = name.rpartition("/")
        group = evaluator(path)
        known = OTHER_GROUPS.union(*(map(evaluator, row) for row in self.results.values()))
        return bool(slash) and (group in known or kind_of_group(group) is not None)

    @property
    def own_results(self) -> Groups:
        """The run's own row of results.json, else what the log has."""
        return self.results.get(self.own_row) or self.last_evaluation()

    def last_evaluation(self) -> Groups:
        """The newest value of every metric in the log."""
        groups: Groups = {}
        for name, series in self.series.items():
            if self.is_metric(name):
                group, _, metric = name.rpartition("/")
                groups.setdefault(group, {})[metric] = series.last
        return groups


def read_run(folder: Path) -> Run:
    """Reads what a run left; a missing or broken file becomes a sentence in `problems`."""
    problems: list[str] = []
    config_text = _text(folder / CONFIG, "the settings are unknown", problems)
    config = _parsed(config_text, CONFIG, _yaml, problems)
    log = _text(folder / METRICS, "there are no curves", problems)
    series, complaints = read_series(log.splitlines())
    if log and not series:
        complaints.append("metrics.json: holds no readable row.")
    results_text = _text(folder / RESULTS, "", [])  # many runs have no rows to compare: not worth a warning
    results = _parsed(results_text, RESULTS, json.loads, problems)
    index = f"{PICTURE_FOLDER}/{PICTURE_INDEX}"
    pictures_text = _text(folder / index, NO_PICTURES, problems)
    pictures = _parsed(pictures_text, index, json.loads, problems)
    rows = {row: dict(_groups(tree, "")) for row, tree in rows_of(results).items()}
    return Run(
        folder,
        config,
        config_text,
        series,
        rows,
        own_row(results) or "",
        _texts(results.get(NOTES)),
        _words(results.get(DEFINITIONS)),
        pictures,
        [*problems, *complaints],
        parameters_of(results),
    )


def _text(path: Path, consequence: str, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        name = "/".join(path.parts[-2:]) if path.name == PICTURE_INDEX else path.name
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        problems.append(f"{name} {reason}: {consequence}.")
        return ""


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _parsed(text: str, name: str, parse: Any, problems: list[str]) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = parse(text)
    except (ValueError, RecursionError):
        problems.append(f"{name} is broken or cut: it was left out.")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{name} must hold a mapping, found {type(value).__name__}: it was left out.")
        return {}
    return value


def _groups(tree: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Dicts of numbers at any depth, named by their path: detectron2 nests by data set if there are several."""
    leaves = {str(k): _number(v) for k, v in tree.items() if v is None or isinstance(v, int | float)}
    if leaves:
        yield prefix or "metrics", leaves
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _groups(value, f"{prefix}/{key}" if prefix else str(key))


def _texts(value: Any) -> list[str]:
    return [str(line) for line in value] if isinstance(value, list) else []


def _words(value: Any) -> dict[str, str]:
    return {str(k): v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return float(value) if is_number(value) and math.isfinite(value) else math.nan
