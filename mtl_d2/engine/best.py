"""Early stopping: the results and the model of the evaluation that validation data like best."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from mtl_d2.evaluation.delta import direction
from mtl_d2.evaluation.results import EvaluationResults, Results
from mtl_d2.files import replacing
from mtl_d2.results_file import metric_names

logger = logging.getLogger(__name__)


class BestEvaluation(HookBase):
    """Keeps the results of the evaluation where one metric was best, and the model as ``model_best.pth``.

    The lowest value is best of an error, the highest of any other metric, and of one that is not known by its name.
    It comes after detectron2's EvalHook. After training the results it kept stand in the place of the last ones;
    training itself goes on to its end.
    """

    def __init__(self, metric: str, output_dir: str, classes: Mapping[str, list[str]] = MappingProxyType({})) -> None:
        """Args: ``metric`` as "group/name"; the run's folder; the checkpointer's ``classes``."""
        self._classes = dict(classes)
        self.metric = metric
        self.path = Path(output_dir, "model_best.pth")
        self._best: dict[str, Any] = {}  # "value", "update", "results"
        self._seen: Results | None = None

    def after_step(self) -> None:
        """Looks at the results, if there are new ones."""
        self._look()

    def after_train(self) -> None:
        """Looks at the last results, and puts the best in their place."""
        self._look()
        last = getattr(self.trainer, "_last_eval_results", None)
        if not last or not comm.is_main_process() or self.trainer.iter + 1 < self.trainer.max_iter:
            return
        notes = getattr(last, "notes", ())
        if not self._best:
            notes = (*notes, f"MTL.SELECT_BY: {self.metric} never had a value, so no model was chosen by it")
            logger.warning("%s", notes[-1])
        best = EvaluationResults(self._best.get("results", last))
        best.notes, best.definitions = tuple(notes), getattr(last, "definitions", {})
        self.trainer._last_eval_results = best

    def _look(self) -> None:
        results = getattr(self.trainer, "_last_eval_results", None)
        if not results or results is self._seen or not comm.is_main_process():
            return
        self._seen = results
        value = self._value(results)
        if self._is_best(value):
            update = min(self.trainer.iter + 1, self.trainer.max_iter)
            plain = {group: dict(metrics) for group, metrics in results.items()}
            self._best = {"value": value, "update": update, "results": plain}
            logger.info("%s %.3f is the best so far, after %d updates", self.metric, value, update)
            # Not by the checkpointer, which would take it for the last checkpoint.
            with replacing(self.path) as file:
                torch.save({"model": self.trainer.model.state_dict(), "classes": self._classes}, file)

    def _is_best(self, value: float) -> bool:
        if not self._best:
            return not math.isnan(value)
        return value < self._best["value"] if direction(self.metric) is False else value > self._best["value"]

    def _value(self, results: Results) -> float:
        """Of the metric; NaN, with a warning, where it has none.

        Raises:
            ValueError: no evaluator gives it.
        """
        group, _, name = self.metric.partition("/")
        if name not in results.get(group, {}) and not getattr(results, "failures", ()):
            there = ", ".join(metric_names(results))
            raise ValueError(
                f"MTL.SELECT_BY must be a metric of the evaluation, got {self.metric!r}; there are: {there}"
            )
        value = float(results.get(group, {}).get(name, math.nan))
        if math.isnan(value):
            logger.warning("%s has no value after %d updates: not chosen", self.metric, self.trainer.iter + 1)
        return value

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return dict(self._best)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self._best = dict(state_dict)
