"""Several evaluators of one data set, of which one that fails takes nothing from the others."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

Tasks = tuple[str, ...]
Build = Callable[[], DatasetEvaluator]

logger = logging.getLogger(__name__)
TRACEBACK = "failure.txt"


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's: checkpoints and results.json hold metrics."""
    return value.item() if isinstance(value, np.generic | Tensor) else value


class IndependentEvaluators(DatasetEvaluator):
    """Each evaluator on its own, and what they cost.

    An evaluator that fails on one process is left out on all of them, so that all stay in step.

    Attributes:
        tasks: of each, whether it could be built or not.
        evaluators: those that could, by their tasks.
        failures: a line for each that failed, by its tasks, on the process where it did.
        class_ids: tasks of which all of them take classes (H, W) in the place of scores (C, H, W).
    """

    def __init__(
        self,
        dataset_name: str,
        builders: Mapping[Tasks, Build],
        folder: Path | None = None,
        class_ids: Collection[str] = (),
    ) -> None:
        """Builds them.

        Args:
            dataset_name: for the log.
            builders: what builds each, by the tasks that it evaluates.
            folder: for the traceback of one that fails.
            class_ids: see the class.
        """
        self.class_ids = frozenset(class_ids)
        self.tasks = tuple(builders)
        self.failures: dict[Tasks, str] = {}
        self._name = dataset_name
        self._folder = folder
        self._start = 0.0
        built = {tasks: self._attempt(tasks, build) for tasks, build in builders.items()}
        self.evaluators = {tasks: evaluator for tasks, evaluator in built.items() if evaluator is not None}

    def reset(self) -> None:
        """Starts the clock."""
        for tasks, evaluator in self.evaluators.items():
            self._attempt(tasks, evaluator.reset)
        self._start = time.perf_counter()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Gives a batch to those that have not failed."""
        for tasks, evaluator in self.evaluators.items():
            self._attempt(tasks, evaluator.process, inputs, outputs)

    def evaluate(self) -> OrderedDict:
        """The metrics of those that have not failed, on the first process; logs what predicting and metrics took."""
        predicted = time.perf_counter()
        failed = set().union(*comm.all_gather(set(self.failures)))
        results: OrderedDict = OrderedDict()
        for tasks in self.tasks:
            if tasks not in failed:
                results.update(self._attempt(tasks, self._evaluate, tasks) or {})
        end = time.perf_counter()
        logger.info(
            "%s: evaluated in %.1f s, %.1f s of them for predictions and %.1f s for metrics",
            self._name, end - self._start, predicted - self._start, end - predicted,
        )  # fmt: skip
        return results

    def give_up(self, error: Exception) -> None:
        """Notes that what feeds the evaluators failed; ``evaluate`` then says so to the other processes."""
        for tasks in self.tasks:
            self._fail(tasks, error)

    def _evaluate(self, tasks: Tasks) -> Mapping[str, Any]:
        metrics = self.evaluators[tasks].evaluate() or {}
        if comm.is_main_process() and not any(metrics.values()):
            logger.warning("%s: no metric of %s", self._name, " and ".join(tasks))
        return {group: {name: _plain(v) for name, v in (values or {}).items()} for group, values in metrics.items()}

    def _attempt(self, tasks: Tasks, call: Callable[..., Any], *arguments: Any) -> Any:
        if tasks in self.failures:
            return None
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001  # whatever one raises must not cost the numbers of the others
            self._fail(tasks, error)
            return None

    def _fail(self, tasks: Tasks, error: Exception) -> None:
        if tasks in self.failures:
            return
        said = " ".join(str(error).split())
        line = f"{self._name}: the evaluation of {' and '.join(tasks)} failed ({type(error).__name__}: {said})"
        if self._folder is not None:
            with contextlib.suppress(OSError):  # a full disk may be what failed
                path = self._folder / TRACEBACK
                path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
                line += f"; its traceback is in {path}"
        self.failures[tasks] = line
        logger.error("%s", line)
