"""Evaluators by what a data set's metadata says of its labels."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from mtl_d2.data.errors import DataError
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.cityscapes import CityscapesEvaluator, require_scripts
from mtl_d2.evaluation.classification import ClassificationEvaluator
from mtl_d2.evaluation.coco import coco_evaluator
from mtl_d2.evaluation.semantic import semantic_evaluator

logger = logging.getLogger(__name__)


def build_evaluator(cfg: Any, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluators:
    """The evaluators of one test set, for those of its labels that a task of the config predicts.

    Args:
        cfg: of the run.
        dataset_name: its metadata's ``evaluator_type`` is a key of ``EVALUATORS``.
        output_folder: for predictions; by default ``OUTPUT_DIR/inference/<dataset_name>``.

    Raises:
        DataError: the evaluator type is another, or the scripts that it takes are missing.
    """
    build = _builder(dataset_name)
    folder = Path(output_folder or Path(cfg.OUTPUT_DIR, "inference", dataset_name))
    folder.mkdir(parents=True, exist_ok=True)
    return TimedEvaluators(dataset_name, build(cfg, dataset_name, folder))


def check_evaluation(cfg: Any) -> None:
    """Whether all test sets can be evaluated, to be asked before a training and not found out after it.

    Raises:
        DataError: one line for each that cannot.
    """
    mistakes = []
    for name in cfg.DATASETS.TEST:
        try:
            _builder(name)
        except DataError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DataError("\n".join(mistakes))


class TimedEvaluators(DatasetEvaluators):
    """Several evaluators of one data set, and what they cost."""

    def __init__(self, dataset_name: str, evaluators: list[DatasetEvaluator]) -> None:
        """Args: the data set's name, for the log; its evaluators."""
        super().__init__(evaluators)
        self._name = dataset_name
        self._start = 0.0

    def reset(self) -> None:
        """Starts the clock."""
        super().reset()
        self._start = time.perf_counter()

    def evaluate(self) -> OrderedDict:
        """The metrics of all of them; logs the seconds that predicting and that the metrics took."""
        predicted = time.perf_counter()
        results = super().evaluate()
        end = time.perf_counter()
        logger.info(
            "%s: evaluated in %.1f s, %.1f s of them for predictions and %.1f s for metrics",
            self._name, end - self._start, predicted - self._start, end - predicted,
        )  # fmt: skip
        return results


def _builder(name: str) -> Callable[[Any, str, Path], list[DatasetEvaluator]]:
    kind = MetadataCatalog.get(name).get("evaluator_type")
    if kind not in EVALUATORS:
        raise DataError(
            f"data set {name!r} has evaluator_type {kind!r}, which is none of {', '.join(map(repr, EVALUATORS))}; "
            f"set it with MetadataCatalog.get({name!r}).set(evaluator_type=...)"
        )
    if EVALUATORS[kind] is _cityscapes:
        require_scripts(name)
    return EVALUATORS[kind]


def _coco(cfg: Any, name: str, folder: Path) -> list[DatasetEvaluator]:
    """Boxes, and masks where they are predicted and labelled."""
    masks = "instance" in cfg.MTL.TASKS and any(
        "segmentation" in a for record in read_records(name) for a in record.get("annotations", ())
    )
    return [coco_evaluator(name, ("bbox", "segm") if masks else ("bbox",), folder)]


def _sem_seg(cfg: Any, name: str, folder: Path) -> list[DatasetEvaluator]:
    return [semantic_evaluator(name, folder)]


def _classification(cfg: Any, name: str, folder: Path) -> list[DatasetEvaluator]:
    return [ClassificationEvaluator(cfg.MTL.TASKS)]


def _cityscapes(cfg: Any, name: str, folder: Path) -> list[DatasetEvaluator]:
    """Masks and classes of pixels by Cityscapes' scripts; boxes, which those do not know, by COCO's."""
    labelled = CITYSCAPES_TASKS[MetadataCatalog.get(name).evaluator_type]
    tasks = [task for task in cfg.MTL.TASKS if task in labelled]
    found: list[DatasetEvaluator] = []
    if "detection" in tasks:
        found.append(coco_evaluator(name, ("bbox",), folder))
    scripted = [task for task in tasks if task != "detection"]
    if scripted:
        found.append(CityscapesEvaluator(name, scripted, folder))
    return found


# What each kind of a Cityscapes data set labels: ours, and detectron2's two.
CITYSCAPES_TASKS = {
    "cityscapes": ("detection", "instance", "semantic"),
    "cityscapes_instance": ("detection", "instance"),
    "cityscapes_sem_seg": ("semantic",),
}
EVALUATORS: dict[str, Callable[[Any, str, Path], list[DatasetEvaluator]]] = {
    "coco": _coco,
    "sem_seg": _sem_seg,
    "classification": _classification,
    **dict.fromkeys(CITYSCAPES_TASKS, _cityscapes),
}
