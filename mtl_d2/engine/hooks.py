"""What happens around the updates."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from detectron2.engine import HookBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from torch import nn

from mtl_d2.balancing.update import Balancer
from mtl_d2.engine.build import method_name
from mtl_d2.engine.checkpoint import MultiTaskCheckpointer
from mtl_d2.engine.generators import generator_states
from mtl_d2.engine.stop import StopRequest, StopTraining
from mtl_d2.evaluation.errors import EvaluationError
from mtl_d2.evaluation.results import EvaluationResults, add_results_row, number_of_parameters

FAILURES_SHOWN = 3  # evaluations that a line names in which the same failed


class ValidationHook(HookBase):
    """Evaluates on the held-out images and shows the methods the metrics, the first process's to all.

    It comes before CheckpointHook, so that a checkpoint of the same update holds what was seen.

    Attributes:
        results: the last ones, on all processes; None before the first.
    """

    results: EvaluationResults | None = None

    def __init__(
        self,
        period: int,
        evaluate: Callable[[], EvaluationResults],
        balancer: Balancer | None,
        failed: FailedEvaluations,
        last: bool = False,
    ) -> None:
        """Builds it.

        Args:
            period: updates between evaluations, >= 1.
            evaluate: what evaluates, run by all processes.
            balancer: its methods are shown the metrics; None if they do not look at any.
            failed: hears of evaluations that fail; the methods then keep their accuracies.
            last: whether to evaluate after the last update as well, where the period does not end there.
        """
        self.period = period
        self.evaluate = evaluate
        self.balancer = balancer
        self.failed = failed
        self.last = last

    def after_step(self) -> None:
        """Evaluates after every ``period``-th update, the last one included."""
        update = self.trainer.iter + 1
        if update % self.period and not (self.last and update >= self.trainer.max_iter):
            return
        self.results = results = comm.all_gather(self.evaluate())[0]
        metrics = {f"validation/{name}": float(value) for name, value in flatten_results_dict(results).items()}
        self.trainer.storage.put_scalars(smoothing_hint=False, **metrics)
        if results.failures:
            self.failed.add(update, results.failures)
        elif self.balancer is not None:
            self.balancer.on_evaluation(results)


class FailedEvaluations(HookBase):
    """Remembers the evaluations that failed, resumed runs included, to be said once the training is over.

    It comes right after detectron2's EvalHook.
    """

    def __init__(self) -> None:
        """None so far."""
        self.lines: list[str] = []
        self._seen: object = None

    def add(self, updates: int, failures: Sequence[str]) -> None:
        """Notes the failures of one evaluation, after so many updates."""
        self.lines += [f"after {updates} updates: {line}" for line in failures]

    def after_step(self) -> None:
        """Looks at the results, if there are new ones."""
        results = getattr(self.trainer, "_last_eval_results", None)
        if results is not None and results is not self._seen:
            self._seen = results
            self.add(min(self.trainer.iter + 1, self.trainer.max_iter), getattr(results, "failures", ()))

    def after_train(self) -> None:
        """Looks at the last results."""
        self.after_step()

    def require_none(self) -> None:
        """Raises EvaluationError: there are some."""
        if self.lines:
            raise EvaluationError("\n".join(self.told()))

    def told(self) -> list[str]:
        """One line for each thing that failed, with the updates after which it did."""
        updates: dict[str, list[str]] = {}
        for line in self.lines:
            when, _, what = line.partition(" updates: ")
            updates.setdefault(what, []).append(when.removeprefix("after "))
        return [f"after {_shortened(when)}: {what}" for what, when in updates.items()]

    def state_dict(self) -> dict[str, Any]:
        """The lines."""
        return {"lines": list(self.lines)} if self.lines else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self.lines = list(state_dict["lines"])


def _shortened(numbers: Sequence[str]) -> str:
    if len(numbers) <= FAILURES_SHOWN:
        return f"{', '.join(numbers)} updates"
    return f"{', '.join(numbers[: FAILURES_SHOWN - 1])}, ..., {numbers[-1]} updates ({len(numbers)} times)"


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
        stop = self.request.agreed(update + 1) and not last
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

    def __init__(
        self,
        cfg: Any,
        failed: FailedEvaluations,
        of_results: Callable[[nn.Module], AbstractContextManager] = nullcontext,
    ) -> None:
        """Builds it.

        Args:
            cfg: of the run.
            failed: what it tells beside its results.
            of_results: meanwhile a model has the weights that the results are of.
        """
        self.cfg = cfg
        self.failed = failed
        self.of_results = of_results

    def after_train(self) -> None:
        """Pictures only of a training that came to its end; the report of whatever there is."""
        from mtl_d2.report.page import write_report  # brings Matplotlib and pandas, which no training waits for
        from mtl_d2.report.pictures import write_pictures

        output = self.cfg.OUTPUT_DIR
        results = getattr(self.trainer, "_last_eval_results", None)
        notes = [*self.failed.told(), *getattr(results, "notes", ())]
        if results is not None and (results or notes):
            parameters = number_of_parameters(self.trainer.model)
            add_results_row(output, method_name(self.cfg), results, own=True, notes=notes, parameters=parameters)
        if self.trainer.iter + 1 >= self.trainer.max_iter and self.cfg.DATASETS.TEST:
            with self.of_results(self.trainer.model):
                write_pictures(self.trainer.model, self.cfg, output)
        write_report(output)
