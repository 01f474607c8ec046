"""What evaluates which tasks: the labels of a test set decide, and where it has an official tool its metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from mtl_d2.data.annotations import image_key
from mtl_d2.evaluation.cityscapes import EVALUATOR_TYPES, CityscapesEvaluator, require_scripts
from mtl_d2.evaluation.classification import ClassificationEvaluator
from mtl_d2.evaluation.coco import coco_evaluator
from mtl_d2.evaluation.semantic import semantic_evaluator
from mtl_d2.tasks import LABELS, is_classification

Record = dict[str, Any]
Records = Sequence[Record]
COCO_KINDS = {"detection": "bbox", "instance": "segm"}
MAX_DETECTIONS = 100  # of a class in an image, that COCO's evaluation looks at


def _evaluate(evaluator: DatasetEvaluator, records: Records) -> Any:
    return evaluator.evaluate()


def _evaluate_images(evaluator: DatasetEvaluator, records: Records) -> Any:
    """COCO's counts every image of its set, unless it is told which."""
    return evaluator.evaluate([image_key(record) for record in records])  # type: ignore[call-arg]


def _nothing(name: str) -> None:
    pass


def _any(record: Record) -> bool:
    return True


def _not_too_many(record: Record) -> bool:
    """Whether pycocotools looks at as many predictions as there are objects of each class."""
    count = Counter(a["category_id"] for a in record.get("annotations") or () if "category_id" in a)
    return max(count.values(), default=0) <= MAX_DETECTIONS


@dataclass(frozen=True)
class Tool:
    """Something that evaluates some tasks.

    Attributes:
        title: whose numbers these are, in words.
        evaluates: whether it knows a task.
        build: the evaluator of a data set's name, some of these tasks, and a folder to write to.
        mend: what to look at where it is wrong about the truth.
        evaluate_on: what an evaluator says of nothing but the records that it was given.
        can_be_perfect: whether all of a record's truth counts, if it is predicted.
        require: raises DataError where it cannot evaluate the data set of a name.
        images: that a rehearsal gives it at most.
        perfect: the least, in percent, that the ground truth has to get.
    """

    title: str
    evaluates: Callable[[str], bool]
    build: Callable[[str, Sequence[str], Path], DatasetEvaluator]
    mend: str
    evaluate_on: Callable[[DatasetEvaluator, Records], Any] = _evaluate
    can_be_perfect: Callable[[Record], bool] = _any
    require: Callable[[str], None] = _nothing
    images: int = 100
    perfect: float = 100.0


COCO = Tool(
    "pycocotools",
    COCO_KINDS.__contains__,
    lambda name, tasks, folder: coco_evaluator(name, [COCO_KINDS[task] for task in tasks], folder),
    "look at its boxes, masks, `category_id` and `image_id`, and at the order of the classes in its metadata",
    evaluate_on=_evaluate_images,
    can_be_perfect=_not_too_many,
)
SEMANTIC = Tool(
    "the IoU of classes",
    ("semantic",).__contains__,
    lambda name, tasks, folder: semantic_evaluator(name, folder),
    "look at the ids in its label map, and at `stuff_classes` and `ignore_label` in its metadata",
)
CLASSIFICATION = Tool(
    "the accuracy",
    is_classification,
    lambda name, tasks, folder: ClassificationEvaluator(tasks),
    "look at its class ids",
)
CITYSCAPES_MASKS = Tool(
    "Cityscapes' scripts",
    ("instance",).__contains__,
    CityscapesEvaluator,
    "look at whether `gt_dir` of its metadata has the ground truth of these images",
    require=require_scripts,
    images=2,  # a process is started each time
    perfect=90.0,  # outlines of polygons.json, which detectron2 reads, are not those of instanceIds.png to a pixel
)
CITYSCAPES_PIXELS = replace(CITYSCAPES_MASKS, evaluates=("semantic",).__contains__, perfect=100.0)

Tools = Mapping[Tool, tuple[str, ...]]  # with the tasks that each evaluates
TOOLS = (COCO, SEMANTIC, CLASSIFICATION)
# What comes first where the `evaluator_type` of a data set names an official tool.
OFFICIAL = dict.fromkeys(EVALUATOR_TYPES, (CITYSCAPES_MASKS, CITYSCAPES_PIXELS))
# The types that name nothing else than the labels do.
PLAIN = (None, "coco", "sem_seg", "classification", "coco_panoptic_seg")


def tools_of(name: str, records: Records, tasks: Sequence[str]) -> Tools:
    """What evaluates a data set, each with its tasks: those among ``tasks`` that the records are labelled for."""
    tools = (*OFFICIAL.get(evaluator_type(name), ()), *TOOLS)
    found: dict[Tool, tuple[str, ...]] = {}
    for task in tasks:
        if LABELS[task].is_in_some(records):
            tool = next(tool for tool in tools if tool.evaluates(task))
            found[tool] = (*found.get(tool, ()), task)
    return found


def evaluator_type(name: str) -> Any:
    """What the metadata of a data set say, None if nothing."""
    return MetadataCatalog.get(name).as_dict().get("evaluator_type")
