"""Classification of whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.classification import classes_of, wrong_classes, wrong_images
from mtl_d2.evaluation.classification import ACCURACY
from mtl_d2.evaluation.tools import Tool
from mtl_d2.evaluation.truth import ClassId
from mtl_d2.prediction.results import ImageClass
from mtl_d2.tasks.base import Record, TaskKind
from mtl_d2.tasks.registry import task_kind

if TYPE_CHECKING:
    from mtl_d2.report.canvas import Canvas

PREFIX = "class_"  # how the names of its tasks begin


@task_kind
class Classification(TaskKind):
    """Tasks ``class_<anything>``: the label is a class id, an int under the task's name, in record and sample alike.

    The names of the classes are in the metadata's ``classes``, a dict by task.
    """

    name = "classification"
    group = "accuracy"  # whose metrics are named after the tasks
    metrics = {"*": True}

    def __init__(self, task: str) -> None:
        """See ``TaskKind``."""
        self.task = task
        self.own_name = task.removeprefix(PREFIX)
        self.record_key = self.sample_key = task

    @classmethod
    def is_name(cls, task: str) -> bool:
        """Whether it begins as they all do."""
        return task.startswith(PREFIX) and task != PREFIX

    @classmethod
    def pattern(cls) -> str:
        """What its tasks are called."""
        return f"{PREFIX}<anything>"

    def class_names(self, dataset: str) -> list[str]:
        """Of the metadata's ``classes``."""
        return list((self.metadata(dataset).get("classes") or {}).get(self.task, ()))

    def check_records(self, examination: Examination) -> None:
        """Class ids, and the sizes of images."""
        cfg, records = examination.cfg, examination.records
        names = self.class_names(examination.name)
        examination.refuse(wrong_classes(self.task, classes_of(cfg)[self.task], names, records))
        examination.refuse(wrong_images(tuple(cfg.MODEL.CLASSIFIER.INPUT_SHAPE), records))

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """Shares of right answers."""
        return (ACCURACY,)

    def truth(self, cfg: Any, dataset: str) -> ClassId:
        """The class id."""
        return ClassId(self.task)

    def result(self, output: Any, metadata: Any, score_threshold: float = 0.0) -> ImageClass:
        """The class of the highest score."""
        return ImageClass(int(output), tuple(map(str, (metadata.get("classes") or {}).get(self.task, ()))))

    def draw_truth(self, canvas: Canvas, record: Record, metadata: Any) -> None:
        """A line below the image."""
        canvas.add_class(self.own_name, record[self.task], (metadata.get("classes") or {}).get(self.task, ()))

    def draw_prediction(self, canvas: Canvas, prediction: Any, metadata: Any) -> None:
        """A line below the image."""
        canvas.add_class(self.own_name, prediction, (metadata.get("classes") or {}).get(self.task, ()))

    def draw_result(self, canvas: Canvas, result: ImageClass, metadata: Any) -> None:
        """A line below the image."""
        canvas.add_class(self.own_name, result.class_id, result.classes)
