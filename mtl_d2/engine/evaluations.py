"""What a training evaluates: a model on some images, its averaged weights beside it, the model that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from torch import nn

from mtl_d2.data.holdout import register_held_out
from mtl_d2.engine.averaged_weights import AveragedWeights
from mtl_d2.engine.best import BestModels
from mtl_d2.evaluation.results import EvaluationResults
from mtl_d2.evaluation.variants import AVERAGED, add_variant
from mtl_d2.parallel.all_ranks import broadcast_model

FOLDER = "averaged"  # below OUTPUT_DIR, of what the evaluation of the averaged weights writes


class Evaluations:
    """Evaluations of one model; all processes call them together."""

    def __init__(
        self,
        cfg: Any,
        model: nn.Module,
        test: Callable[[Any, nn.Module], EvaluationResults],
        averages: AveragedWeights | None = None,
    ) -> None:
        """Args: config and model of the run; what evaluates on ``DATASETS.TEST``; its averages, if there are any."""
        self.cfg = cfg
        self.model = model
        self.test = test
        self.averages = averages

    def on_test_sets(self) -> EvaluationResults:
        """The model on ``DATASETS.TEST``, and its averaged weights beside it."""
        return self._with_averages(self.cfg, self.test(self.cfg, self.model))

    def on_held_out(self, averaged: bool) -> Callable[[], EvaluationResults]:
        """What evaluates on the images held out of ``DATASETS.TRAIN``; the averaged weights beside if ``averaged``."""
        cfg = self._held_out_config()
        return lambda: self._with_averages(cfg, self.test(cfg, self.model), averaged)

    def of_results_on_held_out(self, in_results: Callable[[nn.Module], AbstractContextManager]) -> EvaluationResults:
        """The model that the run's results would be of, on the held-out images, and the averaged weights beside it.

        Args:
            in_results: meanwhile a model has these weights.
        """
        cfg = self._held_out_config()
        with in_results(self.model):
            broadcast_model(self.model)
            results = self.test(cfg, self.model)
        return self._with_averages(cfg, results)

    def _held_out_config(self) -> Any:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASETS.TEST = register_held_out(cfg)
        return cfg

    def of_chosen(self, best: BestModels) -> EvaluationResults:
        """The chosen model on ``DATASETS.TEST``, that of the last update if none was; the last averages beside it."""
        gone: list[str] = []
        if not self.cfg.DATASETS.TEST:
            results = EvaluationResults()
        elif comm.all_gather(best.has_model)[0]:
            with best.in_model(self.model):
                broadcast_model(self.model)
                results = self.test(self.cfg, self.model)
        else:
            results = self.test(self.cfg, self.model)
            gone = [f"{best.paths[0]} is gone: the results are those of the last update's model"] if best.first else []
        results.notes = (*getattr(results, "notes", ()), *best.notes(), *gone)
        return self._with_averages(self.cfg, results)

    def _with_averages(self, cfg: Any, results: EvaluationResults, averaged: bool = True) -> EvaluationResults:
        if averaged and self.averages is not None and cfg.DATASETS.TEST:
            beside = cfg.clone()
            beside.defrost()
            beside.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, FOLDER))
            with self.averages.in_model():
                add_variant(results, self.test(beside, self.model), AVERAGED)
        return results
