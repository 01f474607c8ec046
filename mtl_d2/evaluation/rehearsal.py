"""The evaluation, before the training: the truth must come back as perfect, and nothing at all as 0."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from mtl_d2.config import needs_evaluation
from mtl_d2.data.errors import DataError
from mtl_d2.data.holdout import register_held_out
from mtl_d2.data.once import warn_once
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.build import unevaluated, unknown_types
from mtl_d2.evaluation.criteria import selects_on_held_out
from mtl_d2.evaluation.named_metrics import missing_in_held_out, missing_in_tests
from mtl_d2.evaluation.results import merge_results
from mtl_d2.evaluation.tools import Tools, tools_of
from mtl_d2.evaluation.trial import Groups, Trial

FOLDER = "rehearsal"  # below OUTPUT_DIR, as long as it takes

logger = logging.getLogger(__name__)


@dataclass
class Rehearsed:
    """What is known of a data set's evaluation after its rehearsal.

    Attributes:
        tools: what evaluates it.
        metrics: those that there will be, by group, with the values of a perfect model; NaN where nothing defines them.
        mistakes: why it cannot be evaluated, a line each.
        notes: what else is to be known, a line each.
        looked_at: how much of it, in how much time.
    """

    tools: Tools
    metrics: Groups = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looked_at: str = ""


@dataclass(frozen=True)
class Notes:
    """What is to be known of the evaluation before it, a line each.

    Attributes:
        warnings: what it will not say.
        cost: what its rehearsal looked at, and how long it took.
    """

    warnings: tuple[str, ...]
    cost: tuple[str, ...]

    def log(self) -> None:
        """Says them, once there is a log."""
        for line in self.warnings:
            warn_once(logger, line)
        for line in self.cost:
            logger.info("%s", line)


def rehearse(cfg: Any) -> Notes:
    """Evaluates the ground truth of every set that will be evaluated, and no predictions at all, by its evaluators.

    All processes call it together and do their shares. What it writes is removed.

    Args:
        cfg: of the run, checked with its data; its seed is settled.

    Raises:
        DataError: one line for each set that cannot be evaluated; or for each metric that the config names and that no
            evaluation will give.
    """
    tested = tuple(dict.fromkeys(cfg.DATASETS.TEST))
    held = register_held_out(cfg) if needs_evaluation(cfg) or selects_on_held_out(cfg) else ()
    with _folder(cfg.OUTPUT_DIR) as folder:
        rehearsals = {name: rehearse_set(cfg, name, folder) for name in (*tested, *held)}
    mistakes = [
        f"{name}: {line.removeprefix(f'{name}: ')}" for name in rehearsals for line in rehearsals[name].mistakes
    ]
    if not mistakes:
        mistakes = [
            *missing_in_tests(cfg, merge_results({name: rehearsals[name].metrics for name in tested})),
            *missing_in_held_out(cfg, merge_results({name: rehearsals[name].metrics for name in held})),
        ]
    if mistakes:
        raise DataError("\n".join(mistakes))
    tools = {name: rehearsals[name].tools for name in tested}
    labelled = [task for of in tools.values() for tasks in of.values() for task in tasks]
    notes = [f"{name}: {line.removeprefix(f'{name}: ')}" for name in rehearsals for line in rehearsals[name].notes]
    return Notes(
        (*unevaluated(cfg, labelled), *unknown_types(tools), *notes),
        tuple(f"{name}: {rehearsed.looked_at}" for name, rehearsed in rehearsals.items()),
    )


def rehearse_set(cfg: Any, name: str, folder: Path) -> Rehearsed:
    """The rehearsal of one data set.

    Args:
        cfg: of the run.
        name: of a data set.
        folder: to write to, the same for all processes.
    """
    start = time.perf_counter()
    records = read_records(name)
    tools = tools_of(name, records, cfg.MTL.TASKS)
    rehearsed = Rehearsed(tools, mistakes=_listed_twice(records))
    if not tools:
        rehearsed.mistakes.append(f"no image of it is labelled for any of MTL.TASKS {tuple(cfg.MTL.TASKS)}")
    if rehearsed.mistakes:
        return rehearsed
    looked_at = []
    for tool, tasks in tools.items():
        trial = Trial(cfg, name, tool, tasks, records)
        try:
            with _quiet():
                metrics = trial(folder)
        except DataError as error:
            rehearsed.mistakes += str(error).splitlines()
            continue
        rehearsed.metrics.update(_expected(metrics, trial.cut))
        rehearsed.notes += (*getattr(trial.evaluator, "notes", ()), *_notes(tasks, trial, metrics))
        looked_at.append(f"{len(trial.sample)} of {len(trial.records)} images for {' and '.join(tasks)}")
    seconds = time.perf_counter() - start
    rehearsed.looked_at = f"its evaluation was rehearsed in {seconds:.1f} s, on {', '.join(looked_at)}"
    return rehearsed


@contextlib.contextmanager
def _folder(output_dir: str) -> Iterator[Path]:
    """A folder that all processes see, below the run's, of which nothing is left."""
    output = Path(output_dir)
    there = output.exists()
    comm.synchronize()  # before one of the processes makes it
    try:
        yield output / FOLDER
    finally:
        if comm.is_main_process():
            shutil.rmtree(output / FOLDER, ignore_errors=True)
            if not there:
                with contextlib.suppress(OSError):
                    output.rmdir()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the evaluators say of the truth is of no use to anybody."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _expected(metrics: Groups, cut: bool) -> Groups:
    """The metrics of a perfect model; 100 where an image that was not looked at may define them."""
    unknown = 100.0 if cut else math.nan
    return {g: {name: unknown if math.isnan(v) else v for name, v in of.items()} for g, of in metrics.items()}


def _notes(tasks: Sequence[str], trial: Trial, metrics: Groups) -> list[str]:
    """What cannot be measured on a data set, though it can be evaluated."""
    what = " and ".join(tasks)
    if not metrics:
        return [f"the truth of {what} is not published: predictions are written, and there is no metric"]
    notes = []
    if trial.crowded:
        notes.append(
            f"{trial.crowded} images have more objects of a class than {trial.tool.title} looks at: no model finds all"
        )
    for group, of in metrics.items() if not trial.cut else ():  # else an image that was not looked at may show it
        missing = [name.partition("-")[2] or name for name, value in of.items() if math.isnan(value)]
        if missing:
            notes.append(f"{group} has no value for {', '.join(dict.fromkeys(missing))}: no image is labelled with any")
    return notes


def _listed_twice(records: Sequence[dict[str, Any]]) -> list[str]:
    """Images of which one record's labels would count for another; COCO's evaluator looks at their ids itself."""
    count = Counter(record["file_name"] for record in records if "image" not in record)  # in memory names may be shared
    twice = [file for file, number in count.items() if number > 1]
    if not twice:
        return []
    return [
        f"{len(twice)} images are listed more than once, the first is {twice[0]}: list each once, with all its labels"
    ]
