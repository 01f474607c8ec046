"""Which trained tasks have no figures, and why figures are missing."""

from __future__ import annotations

import math

from mtl_d2.report.precision import evaluator
from mtl_d2.report.run import Groups, Run
from mtl_d2.results_file import CHOSEN
from mtl_d2.tasks.registry import is_known, kind_of

WHY_UNDEFINED = (
    "there was nothing to take a mean of: the test set shows no such object or class, or is not annotated for it"
)


def remarks(run: Run) -> list[str]:
    """A line for whatever a reader of a run's own results must know: its notes, and tasks that have no figures."""
    tests = ", ".join(_listed(run.setting("DATASETS.TEST")))
    untold = [
        task for task in _unevaluated(run) if not any(repr(task) in line or f" {task} " in line for line in run.notes)
    ]
    return [line for line in run.notes if not line.startswith(CHOSEN)] + [
        f"{task!r} is trained and not evaluated: no data set of DATASETS.TEST ({tests}) labels it, or its evaluation "
        "failed"
        for task in untold
    ]


def choices(run: Run) -> list[str]:
    """A line for each file that the run chose the model of: by what, when, by what value."""
    return [line for line in run.notes if line.startswith(CHOSEN)]


def _unevaluated(run: Run) -> list[str]:
    """Trained tasks of which a run that was evaluated has no figures; of a task of another kind nothing is claimed."""
    results = run.own_results
    return [task for task in _listed(run.setting("MTL.TASKS")) if results and not _is_evaluated(task, results)]


def undefined(results: Groups) -> list[str]:
    """A line for the metrics, those of a single class aside, that are no number."""
    names = [
        f"{group}/{metric}"
        for group, metrics in results.items()
        for metric, value in metrics.items()
        if math.isnan(value) and "-" not in metric
    ]
    return [f"nan: {', '.join(names)}: {WHY_UNDEFINED}"] if names else []


def why_nothing(run: Run) -> str:
    """Why a run has no figures at all, as far as its folder tells."""
    tasks = ", ".join(_listed(run.setting("MTL.TASKS")))
    if run.config and not run.setting("DATASETS.TEST"):
        return f"No evaluation: DATASETS.TEST names no test set, so no task ({tasks}) was evaluated."
    return "No evaluation was found: neither results.json nor an evaluation row in metrics.json."


def _is_evaluated(task: str, results: Groups) -> bool:
    """Whether the results have a group of the task; yes for a task of another kind."""
    if not is_known(task):
        return True
    kind = kind_of(task)
    groups = [metrics for group, metrics in results.items() if evaluator(group) == kind.group]
    return any(kind.metrics.get("*") is None or task in metrics for metrics in groups)


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
