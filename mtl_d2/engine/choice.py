"""The hooks of a training that evaluate, average the weights and choose the best model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from torch import nn

from mtl_d2.config import needs_evaluation
from mtl_d2.engine.averaged_weights import AveragedWeights
from mtl_d2.engine.best import BestEvaluation, BestHeldOut, BestModels
from mtl_d2.engine.evaluations import Evaluations
from mtl_d2.engine.hooks import FailedEvaluations, ValidationHook
from mtl_d2.evaluation.criteria import chosen_by_itself, read_criteria, selects_on_held_out
from mtl_d2.evaluation.results import EvaluationResults

if TYPE_CHECKING:
    from mtl_d2.engine.trainer import MultiTaskTrainer


@dataclass
class Choice:
    """Hooks, by their place.

    Attributes:
        evaluation: of the test sets.
        before: those before CheckpointHook.
        after: those after ``evaluation``.
        of_results: meanwhile a model has the weights that the results are of.
        held_out: evaluates that model on the images held out of training; None where there are none.
    """

    evaluation: EvalHook
    before: list[HookBase] = field(default_factory=list)
    after: list[HookBase] = field(default_factory=list)
    of_results: Callable[[nn.Module], AbstractContextManager] = nullcontext
    held_out: Callable[[], EvaluationResults] | None = None


def build_choice(trainer: MultiTaskTrainer, failed: FailedEvaluations) -> Choice:
    """Those of a trainer that has its model, balancer and checkpointer.

    Where the model is chosen on held-out images, these are evaluated during the training, and the test sets once, at
    its end, with the chosen model.
    """
    cfg, loop, classes = trainer.cfg, trainer._trainer, trainer.checkpointer.classes
    averages = None
    if cfg.MTL.EMA.DECAY:
        averages = AveragedWeights(
            loop.model, cfg.MTL.EMA.DECAY, cfg.OUTPUT_DIR, classes, lambda: loop.precision.skipped
        )
    evaluations = Evaluations(cfg, loop.model, trainer.test, averages)
    held_out, weights = selects_on_held_out(cfg), needs_evaluation(cfg)
    criteria = read_criteria(cfg)
    best = None
    if criteria:
        in_average = averages.in_model if averages else nullcontext
        where = " of the held-out images" if held_out else ""
        best = BestModels(criteria, cfg.OUTPUT_DIR, classes, in_average, where, chosen_by_itself(cfg))
    period = 0 if held_out else cfg.TEST.EVAL_PERIOD
    evaluate = evaluations.on_test_sets if best is None or not held_out else lambda: evaluations.of_chosen(best)
    choice = Choice(EvalHook(period, _keeping(trainer, evaluate)))
    if cfg.MTL.DATA.VALIDATION_SHARE:
        choice.held_out = lambda: evaluations.of_results_on_held_out(choice.of_results)
    choice.before += [averages] if averages else []
    if held_out or weights:
        balancer = loop.balancer if weights else None
        held = evaluations.on_held_out(averaged=held_out)  # a method looks at the weights themselves
        validation = ValidationHook(cfg.TEST.EVAL_PERIOD, held, balancer, failed, last=held_out)
        choice.before.append(validation)
        choice.before += [BestHeldOut(best, validation)] if best and held_out else []
    if best is not None:
        choice.after += [] if held_out else [BestEvaluation(best)]
        choice.of_results = best.in_model
    return choice


def _keeping(trainer: MultiTaskTrainer, evaluate: Callable[[], Any]) -> Callable[[], Any]:
    """``evaluate``, whose results the trainer keeps as its last ones, as detectron2's does."""

    def evaluated() -> Any:
        trainer._last_eval_results = evaluate()
        return trainer._last_eval_results

    return evaluated
