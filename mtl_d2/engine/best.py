"""Early stopping: the results and the model of the evaluation that validation data like best."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from mtl_d2.evaluation.results import Results

logger = logging.getLogger(__name__)


class BestEvaluation(HookBase):
    """Keeps the results of the evaluation where one metric was highest, and the model as ``model_best.pth``.

    It comes after detectron2's EvalHook. After training the results it kept stand in the place of the last ones;
    training itself goes on to its end.
    """

    def __init__(self, metric: str, output_dir: str) -> None:
        """Args: ``metric`` as "group/name", higher is better; the run's folder."""
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
        if self._best and self.trainer.iter + 1 >= self.trainer.max_iter:
            self.trainer._last_eval_results = self._best["results"]

    def _look(self) -> None:
        results = getattr(self.trainer, "_last_eval_results", None)
        if not results or results is self._seen or not comm.is_main_process():
            return
        self._seen = results
        value = _find(results, self.metric)
        if value > self._best.get("value", -math.inf):
            update = min(self.trainer.iter + 1, self.trainer.max_iter)
            self._best = {"value": value, "update": update, "results": results}
            logger.info("%s %.3f is the best so far, after %d updates", self.metric, value, update)
            # Not by the checkpointer, which would take it for the last checkpoint.
            torch.save({"model": self.trainer.model.state_dict()}, self.path.with_suffix(".tmp"))
            self.path.with_suffix(".tmp").replace(self.path)

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return dict(self._best)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self._best = dict(state_dict)


def _find(results: Results, metric: str) -> float:
    group, _, name = metric.rpartition("/")
    if name not in results.get(group, {}):
        there = ", ".join(f"{g}/{n}" for g, metrics in results.items() for n in metrics if "-" not in n)
        raise ValueError(f"MTL.SELECT_BY must be a metric of the evaluation, got {metric!r}; there are: {there}")
    return float(results[group][name])
