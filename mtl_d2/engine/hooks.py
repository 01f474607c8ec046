"""What happens around the updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from mtl_d2.balancing.strategies import Weighting
from mtl_d2.engine.build import method_name
from mtl_d2.evaluation.results import Results, add_results_row
from mtl_d2.report import write_report
from mtl_d2.report.pictures import write_pictures


class ValidationHook(HookBase):
    """Evaluates on the held-out images and shows the weighting the metrics, the first process's to all.

    It comes before detectron2's PeriodicCheckpointer, so that a checkpoint of the same update holds what was seen.
    """

    def __init__(self, period: int, evaluate: Callable[[], Results], weighting: Weighting) -> None:
        """Args: updates between evaluations, >= 1; what evaluates, run by all processes; who is shown the metrics."""
        self.period = period
        self.evaluate = evaluate
        self.weighting = weighting

    def after_step(self) -> None:
        """Evaluates after every ``period``-th update, the last one included."""
        if (self.trainer.iter + 1) % self.period:
            return
        results = comm.all_gather(self.evaluate())[0]
        metrics = {f"validation/{name}": float(value) for name, value in flatten_results_dict(results).items()}
        self.trainer.storage.put_scalars(smoothing_hint=False, **metrics)
        self.weighting.on_evaluation(results)


class ReportHook(HookBase):
    """Writes ``report.html`` after training, also after one that failed."""

    def __init__(self, cfg: Any) -> None:
        """Args: ``cfg`` of the run."""
        self.cfg = cfg

    def after_train(self) -> None:
        """Pictures only of a training that came to its end; the report of whatever there is."""
        output = self.cfg.OUTPUT_DIR
        results = getattr(self.trainer, "_last_eval_results", None)
        if results:
            add_results_row(output, method_name(self.cfg), results)
        if self.trainer.iter + 1 >= self.trainer.max_iter and self.cfg.DATASETS.TEST:
            write_pictures(self.trainer.model, self.cfg, output)
        write_report(output)
