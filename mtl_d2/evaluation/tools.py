"""What evaluates which tasks: the labels of a test set decide, and where it has an official tool its metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.registry import kinds_of

Record = dict[str, Any]
Records = Sequence[Record]


def _evaluate(evaluator: DatasetEvaluator, records: Records) -> Any:
    return evaluator.evaluate()


def _nothing(name: str) -> None:
    pass


def _any(record: Record) -> bool:
    return True


@dataclass(frozen=True)
class Tool:
    """Something that evaluates some tasks.

    Attributes:
        title: whose numbers these are, in words.
        build: the evaluator of a data set's name, some tasks, and a folder to write to.
        advice: what to look at where it is wrong about the truth.
        evaluate_on: what an evaluator says of nothing but the records that it was given.
        can_be_perfect: whether all of a record's truth counts, if it is predicted.
        require: raises DataError where it cannot evaluate the data set of a name.
        images: that a rehearsal gives it at most.
        perfect: the least, in percent, that the ground truth has to get.
        group: of metrics that it gives besides those of the tasks, if any.
        definition: what the metrics of that group are.
        takes_ids: whether classes (H, W) do where a task predicts scores of classes (C, H, W).
        can_be_zero: whether its metrics of predictions that are wrong everywhere are 0.
    """

    title: str
    build: Callable[[str, Sequence[TaskKind], Path], DatasetEvaluator]
    advice: str
    evaluate_on: Callable[[DatasetEvaluator, Records], Any] = _evaluate
    can_be_perfect: Callable[[Record], bool] = _any
    require: Callable[[str], None] = _nothing
    images: int = 100
    perfect: float = 100.0
    can_be_zero: bool = True
    group: str = ""
    definition: str = ""
    takes_ids: bool = False


Tools = Mapping[Tool, tuple[str, ...]]  # with the tasks that each evaluates
# The types that name nothing else than the labels do.
PLAIN = (None, "coco", "sem_seg", "classification", "coco_panoptic_seg")


def tools_of(name: str, records: Records, tasks: Sequence[str]) -> Tools:
    """What evaluates a data set, each with its tasks: those among ``tasks`` that the records are labelled for."""
    kind_of_set = evaluator_type(name)
    tools: dict[Tool, tuple[str, ...]] = {}
    for kind in kinds_of(tasks):
        if kind.is_in_some(records):
            for tool in kind.tools(kind_of_set):
                tools[tool] = (*tools.get(tool, ()), kind.task)
    return tools


def evaluator_type(name: str) -> Any:
    """What the metadata of a data set say, None if nothing."""
    return MetadataCatalog.get(name).as_dict().get("evaluator_type")
