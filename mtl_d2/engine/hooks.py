"""What happens around the updates."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from detectron2.engine import HookBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from mtl_d2.balancing.strategies import Weighting
from mtl_d2.engine.build import method_name
from mtl_d2.engine.checkpoint import MultiTaskCheckpointer
from mtl_d2.engine.generators import generator_states
from mtl_d2.engine.stop import StopRequest, StopTraining
from mtl_d2.evaluation.results import Results, add_results_row
from mtl_d2.report import write_report
from mtl_d2.report.pictures import write_pictures


class ValidationHook(HookBase):
    """Evaluates on the held-out images and shows the weighting the metrics, the first process's to all.

    It comes before CheckpointHook, so that a checkpoint of the same update holds what was seen.
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


class CheckpointHook(hooks.PeriodicCheckpointer):
    """detectron2's PeriodicCheckpointer, on all processes, that also ends a training that was asked to stop.

    A checkpoint holds an update up to this hook; the hooks after it (evaluation, logs) see the update once more when
    the run is resumed, so that nothing is lost between them. It holds each process's generators as well.
    """

    def __init__(self, checkpointer: MultiTaskCheckpointer, period: int, request: StopRequest) -> None:
        """Args: what saves; updates between checkpoints, >= 1; what hears that the training is to stop."""
        super().__init__(checkpointer, period)
        self.request = request

    def after_step(self) -> None:
        """Saves after every ``period``-th update, the last one, and the one after which the processes agree to stop.

        Raises:
            StopTraining: they did, and it is not the last update anyway.
        """
        update = self.trainer.iter
        last, due = update + 1 >= self.trainer.max_iter, (update + 1) % self.period == 0
        stop = self.request.agreed() and not last
        if not (last or due or stop):
            return
        state = {"generators": generator_states()}
        self.step(update, **state)
        if stop and not due:
            self.save(f"{self.file_prefix}_{update:07d}", iteration=update, **state)
        if stop:
            raise StopTraining(f"stopped after update {update}; the same command with --resume goes on")

    def after_train(self) -> None:
        """The last checkpoint is written: from now on a Ctrl-C ends the process at once. SIGTERM waits for the rest."""
        self.request.forget(signal.SIGINT)


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
