"""Evaluators by what a data set's records are labelled for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from mtl_d2.data.errors import DataError
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.independent import Build, IndependentEvaluators
from mtl_d2.evaluation.tools import PLAIN, Tools, evaluator_type, tools_of
from mtl_d2.tasks.registry import all_kinds, kinds_of


def build_evaluator(cfg: Any, dataset_name: str, output_folder: str | None = None) -> IndependentEvaluators:
    """The evaluators of one test set, for those of its labels that a task of the config predicts.

    Args:
        cfg: of the run; ``MTL.TASKS`` and ``OUTPUT_DIR``.
        dataset_name: its records say what it is labelled for; its metadata's ``evaluator_type`` matters where it names
            an official tool.
        output_folder: for predictions; by default ``OUTPUT_DIR/inference/<dataset_name>``.

    Raises:
        DataError: none of its labels is one of a task.
    """
    tools = tools_of(dataset_name, read_records(dataset_name), cfg.MTL.TASKS)
    if not tools:
        raise DataError(f"{dataset_name}: {_unlabelled(cfg.MTL.TASKS)}")
    folder = Path(output_folder or Path(cfg.OUTPUT_DIR, "inference", dataset_name))
    folder.mkdir(parents=True, exist_ok=True)
    builders: dict[tuple[str, ...], Build] = {}
    for tool, tasks in tools.items():
        build = partial(tool.build, dataset_name, kinds_of(tasks), folder)
        builders[tasks] = partial(_both, builders[tasks], build) if tasks in builders else build
    scored = {task for tool, tasks in tools.items() if not tool.takes_ids for task in tasks}
    return IndependentEvaluators(dataset_name, builders, folder, {*chain(*builders)} - scored)


def _both(first: Build, second: Build) -> DatasetEvaluator:
    """Two tools that evaluate the same tasks."""
    return DatasetEvaluators([first(), second()])


def check_evaluation(cfg: Any) -> None:
    """Whether all test sets can be evaluated, to be asked before a training and not found out after it.

    Raises:
        DataError: one line for each that cannot.
    """
    mistakes = []
    for name in dict.fromkeys(cfg.DATASETS.TEST):
        tools = tools_of(name, read_records(name), cfg.MTL.TASKS)
        if not tools:
            mistakes.append(f"{name}: {_unlabelled(cfg.MTL.TASKS)}")
        for tool in tools:
            try:
                tool.require(name)
            except DataError as error:
                mistakes.append(str(error))
    if mistakes:
        raise DataError("\n".join(mistakes))


def unknown_types(tools: Mapping[str, Tools]) -> list[str]:
    """A line for each data set whose metadata name a tool that is not known here.

    Args:
        tools: by data set.
    """
    notes, known = [], {*PLAIN, *(known_type for kind in all_kinds() for known_type in kind.evaluator_types)}
    for name, its_tools in tools.items():
        kind = evaluator_type(name)
        if kind not in known:
            by = ", ".join(f"{' and '.join(tasks)} by {tool.title}" for tool, tasks in its_tools.items())
            notes.append(f"{name}: its evaluator_type {kind!r} is not known here; it is evaluated for {by}")
    return notes


def unevaluated(cfg: Any, labelled: Iterable[str]) -> list[str]:
    """A line for each task that is trained and not among the tasks ``labelled`` in the test sets, if there are any."""
    if not cfg.DATASETS.TEST:
        return []
    missing = [task for task in cfg.MTL.TASKS if task not in set(labelled)]
    return [
        f"{task!r} is trained and not evaluated: no data set of DATASETS.TEST ({', '.join(cfg.DATASETS.TEST)}) labels "
        "it; add one that does"
        for task in missing
    ]


def _unlabelled(tasks: Sequence[str]) -> str:
    return (
        f"its records have no label for any of MTL.TASKS {tuple(tasks)}, so nothing of it can be evaluated: take it "
        "out of DATASETS.TEST, or add its task"
    )
