"""What happens around the updates."""

from __future__ import annotations

from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from mtl_d2.balancing import Balancer
from mtl_d2.engine.build import method_name
from mtl_d2.evaluation.results import add_results_row
from mtl_d2.report import write_report
from mtl_d2.report.pictures import write_pictures


class EvaluationHook(HookBase):
    """Shows the weighting each evaluation's metrics, the first process's to all; comes after detectron2's EvalHook."""

    def __init__(self, balancer: Balancer) -> None:
        """Args: ``balancer`` of the run."""
        self.balancer = balancer
        self._seen: Any = None

    def after_step(self) -> None:
        """Passes on results that are new."""
        results = getattr(self.trainer, "_last_eval_results", None)
        if results is not None and results is not self._seen:
            self._seen = results
            shared = comm.all_gather(results)[0]
            if shared:
                self.balancer.scalarization.weighting.on_evaluation(shared)


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
