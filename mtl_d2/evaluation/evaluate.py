"""A model on all test sets: one table, whatever fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any

from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.evaluation.testing import print_csv_format
from detectron2.utils import comm
from torch import nn

from mtl_d2.data.errors import DataError
from mtl_d2.evaluation.build import unevaluated
from mtl_d2.evaluation.definitions import definition
from mtl_d2.evaluation.independent import IndependentEvaluators
from mtl_d2.evaluation.results import EvaluationResults, Results, flat_table, merge_results, merged_groups
from mtl_d2.modeling.wanted import Wanted, predicting

Batches = Iterable[list[dict]]
logger = logging.getLogger(__name__)


def evaluate_test_sets(
    cfg: Any,
    model: nn.Module,
    build_loader: Callable[[Any, str], Batches],
    build_evaluator: Callable[[Any, str], DatasetEvaluator],
) -> EvaluationResults:
    """The metrics of every data set of ``DATASETS.TEST``: on the first process; what failed is known to all.

    Of a multi-task model no head runs that the data set has no labels for.

    Args:
        cfg: of the run.
        model: a detectron2 model; it is left in the mode it came in.
        build_loader: the batches of a data set.
        build_evaluator: the evaluators of a data set.
    """
    by_set: dict[str, Results] = {}
    failures: list[str] = []
    evaluated: set[str] = set()
    for name in dict.fromkeys(cfg.DATASETS.TEST):
        try:
            evaluators = _independent(cfg, name, build_evaluator(cfg, name))
        except (DataError, OSError) as error:
            failures.append(f"{name} was not evaluated: {error}")
            continue
        tasks = frozenset(chain(*evaluators.tasks))
        evaluated |= tasks
        with predicting(model, Wanted(tasks, evaluators.class_ids, cfg.MTL.CLASSES_AT)):
            by_set[name] = _evaluate(model, partial(build_loader, cfg, name), evaluators)
        failures += evaluators.failures.values()
        if by_set[name]:
            print_csv_format(by_set[name])
    results = EvaluationResults(merge_results(by_set))
    results.failures = tuple(dict.fromkeys(line for lines in comm.all_gather(failures) for line in lines))
    results.notes = tuple(unevaluated(cfg, evaluated))
    of_groups = {merged: definition(cfg.MTL.TASKS, *place) for merged, place in merged_groups(by_set).items()}
    results.definitions = {group: words for group, words in of_groups.items() if words}
    if comm.is_main_process():
        logger.info("Evaluation results:\n%s", flat_table(results))
        for group, words in results.definitions.items():
            logger.info("%s: %s", group, words)
    return results


def _independent(cfg: Any, name: str, evaluators: DatasetEvaluator) -> IndependentEvaluators:
    """Evaluators that are not ours count as one, of all tasks."""
    if isinstance(evaluators, IndependentEvaluators):
        return evaluators
    return IndependentEvaluators(name, {tuple(cfg.MTL.TASKS): lambda: evaluators})


def _evaluate(model: nn.Module, load: Callable[[], Batches], evaluators: IndependentEvaluators) -> Results:
    training = model.training
    try:
        return inference_on_dataset(model, load(), evaluators)
    except Exception as error:  # noqa: BLE001  # of the model or the data; the evaluators keep theirs to themselves
        evaluators.give_up(error)
        return evaluators.evaluate()
    finally:
        model.train(training)  # detectron2 leaves it as it is after an exception
