"""The best models of a run, each by a criterion, and the results that stand for the run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from mtl_d2.engine.hooks import ValidationHook
from mtl_d2.engine.weights_file import save_weights, weights_of
from mtl_d2.evaluation.criteria import Criterion, file_name, is_averaged
from mtl_d2.evaluation.results import EvaluationResults, Results
from mtl_d2.results_file import CHOSEN, metric_names

logger = logging.getLogger(__name__)
FILE = "model_best.pth"


class BestModels:
    """Looks at evaluations, and keeps the model of the best one by each criterion in a file.

    The first criterion's is ``model_best.pth``; that of a further one ``model_best_<criterion>.pth``.

    Attributes:
        best: by criterion: "value", after how many updates ("update"), and all of "results".
        evaluations: those that were looked at.
    """

    def __init__(
        self,
        criteria: Sequence[Criterion],
        output_dir: str,
        classes: Mapping[str, Sequence[str]] = MappingProxyType({}),
        averaged: Callable[[], AbstractContextManager] = nullcontext,
        where: str = "",
        warning: str = "",
    ) -> None:
        """Builds it.

        Args:
            criteria: one at least.
            output_dir: the run's folder.
            classes: the checkpointer's.
            averaged: with it, the model has its averaged weights, which criteria of these keep.
            where: of what images the metrics are, in words.
            warning: what else is to be known of the choice.
        """
        self.criteria = tuple(criteria)
        names = [FILE, *(f"model_best_{file_name(criterion)}.pth" for criterion in self.criteria[1:])]
        self.paths = [Path(output_dir, name) for name in names]
        self.best: dict[str, dict[str, Any]] = {}
        self.evaluations = 0
        self._classes, self._averaged = classes, averaged
        self._where, self._warning = where, warning

    @property
    def first(self) -> dict[str, Any]:
        """The best by the first criterion; empty if there is none."""
        return self.best.get(self.criteria[0].text, {})

    def look(self, results: Results, update: int, model: nn.Module) -> None:
        """Takes in an evaluation of ``model`` after so many updates.

        Raises:
            ValueError: no evaluator gives a metric of a criterion.
        """
        self.evaluations += 1
        for criterion, path in zip(self.criteria, self.paths, strict=True):
            _require_metrics(criterion, results)
            value = criterion.value(results)
            if math.isnan(value):
                logger.warning("%s has no value after %d updates: not chosen", criterion.text, update)
            elif self._is_best(criterion, value):
                plain = {group: dict(metrics) for group, metrics in results.items()}
                self.best[criterion.text] = {"value": value, "update": update, "results": plain}
                logger.info("%s %.3f is the best so far, after %d updates", criterion.text, value, update)
                self._save(path, criterion, model)

    def _is_best(self, criterion: Criterion, value: float) -> bool:
        if criterion.text not in self.best:
            return True
        before = self.best[criterion.text]["value"]
        return value > before if criterion.higher else value < before

    def _save(self, path: Path, criterion: Criterion, model: nn.Module) -> None:
        if comm.is_main_process():
            chosen = {"by": criterion.text, **self.best[criterion.text]}
            chosen.pop("results")
            with self._averaged() if is_averaged(criterion) else nullcontext():
                save_weights(path, model, self._classes, chosen=chosen)

    def notes(self) -> list[str]:
        """A line for each file: what was chosen when, by what value; and what is to be known of it."""
        lines = [self._warning] if self._warning else []
        of = f"the best of {self.evaluations} evaluations" if self.evaluations > 1 else "in the only evaluation"
        for criterion, path in zip(self.criteria, self.paths, strict=True):
            best = self.best.get(criterion.text)
            if best is None:
                lines.append(f"MTL.SELECT_BY: {criterion.text} never had a value, so no model was chosen by it")
                logger.warning("%s", lines[-1])
                continue
            weights = "the averaged weights" if is_averaged(criterion) else "the model"
            lines.append(
                f"{CHOSEN}{path.name}, {weights} after {best['update']} updates: {criterion.text}{self._where} was "
                f"{best['value']:.3f}, {of}"
            )
        return lines

    @property
    def has_model(self) -> bool:
        """Whether this process finds the file of the first criterion."""
        return bool(self.first) and self.paths[0].is_file()

    @contextmanager
    def in_model(self, model: nn.Module) -> Iterator[None]:
        """Meanwhile ``model`` has the weights that the first criterion chose, if this process finds them."""
        with weights_of(self.paths[0] if self.has_model else None, model):
            yield

    def state_dict(self) -> dict[str, Any]:
        """The best so far; empty before the first evaluation."""
        return {"best": dict(self.best), "evaluations": self.evaluations} if self.evaluations else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """See ``state_dict``; earlier versions knew one criterion, and not how many evaluations there were."""
        earlier = {"best": {self.criteria[0].text: dict(state_dict)}, "evaluations": 1} if state_dict else {}
        state: Mapping[str, Any] = state_dict if "best" in state_dict else earlier
        self.best, self.evaluations = dict(state.get("best", {})), int(state.get("evaluations", 0))


class BestEvaluation(HookBase):
    """Chooses by the test sets, and puts the results of the first criterion's best in the place of the last.

    It comes after detectron2's EvalHook; training itself goes on to its end.
    """

    def __init__(self, models: BestModels) -> None:
        """Args: ``models`` keeps them."""
        self.models = models
        self._seen: Results | None = None

    def after_step(self) -> None:
        """Looks at the results, if there are new ones."""
        results = getattr(self.trainer, "_last_eval_results", None)
        if results and results is not self._seen:
            self._seen = results
            self.models.look(results, min(self.trainer.iter + 1, self.trainer.max_iter), self.trainer.model)

    def after_train(self) -> None:
        """Looks at the last results, and puts the best in their place."""
        self.after_step()
        last = getattr(self.trainer, "_last_eval_results", None)
        if not last or self.trainer.iter + 1 < self.trainer.max_iter:
            return
        best = EvaluationResults(self.models.first.get("results", last))
        best.notes = (*getattr(last, "notes", ()), *self.models.notes())
        best.definitions = getattr(last, "definitions", {})
        self.trainer._last_eval_results = best

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return self.models.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self.models.load_state_dict(state_dict)


class BestHeldOut(HookBase):
    """Chooses by the images held out of training. It comes right after ValidationHook, so before CheckpointHook."""

    def __init__(self, models: BestModels, validation: ValidationHook) -> None:
        """Args: what keeps them; what evaluates."""
        self.models = models
        self.validation = validation
        self._seen: Results | None = None

    def after_step(self) -> None:
        """Looks at the results, if there are new ones."""
        results = self.validation.results
        if results and results is not self._seen:
            self._seen = results
            self.models.look(results, self.trainer.iter + 1, self.trainer.model)

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return self.models.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self.models.load_state_dict(state_dict)


def _require_metrics(criterion: Criterion, results: Results) -> None:
    """Raises ValueError: no evaluator gives one of its metrics, though none failed."""
    for metric in criterion.metrics if not getattr(results, "failures", ()) else ():
        group, _, name = metric.partition("/")
        if name not in results.get(group, {}):
            there = ", ".join(metric_names(results))
            raise ValueError(f"MTL.SELECT_BY must be a metric of the evaluation, got {metric!r}; there are: {there}")
