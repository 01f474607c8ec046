"""The metrics of driving networks: vehicles as one class, drivable area and lanes against their background.

YOLOP: Wu et al., "YOLOP: You Only Look Once for Panoptic Driving Perception", Machine Intelligence Research 2022
(https://arxiv.org/abs/2108.11250, code hustvl/YOLOP, ``lib/core/{function,evaluate}.py``).
HybridNets: Vu et al., "HybridNets: End-to-End Perception Network", 2022 (https://arxiv.org/abs/2203.09035, code
datvuthanh/HybridNets, ``val.py``).

Differs from both: counts are pooled over all images, where they average the metrics of pixels over batches (YOLOP) or
images (HybridNets); label maps have their own size, where they are shrunk to a width of 640; precision at a recall is
pycocotools', where theirs is interpolated; a prediction is matched to the best object that is still free, where YOLOP's
looks at one object alone; crowd regions are left out, which their labels do not have.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import nms

from mtl_d2.data.annotations import image_key
from mtl_d2.data.datasets.bdd100k_classes import BACKGROUND, VEHICLES
from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_label_map
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.class_subsets import require_all_classes
from mtl_d2.evaluation.object_truth import coco_api, object_truth
from mtl_d2.evaluation.semantic import class_ids, raise_mistakes
from mtl_d2.evaluation.semantic_scores import confusion_matrix, semantic_scores
from mtl_d2.evaluation.tools import Tool

Record = dict[str, Any]
Metrics = dict[str, float]

EVALUATOR_TYPE = "bdd100k_driving"
GROUP = "driving"
# Of all, whether higher is better.
HIGHER = dict.fromkeys(("recall", "AP50", "drivable_mIoU", "lane_accuracy", "lane_balanced_accuracy", "lane_IoU"), True)
DEFINITION = (
    f"recall and AP50 are of {', '.join(VEHICLES)} as one class; drivable_mIoU is of drivable area and background; "
    "lane_accuracy is the recall of lanes, as by YOLOP, lane_balanced_accuracy the mean of lanes' and background's, as "
    "by HybridNets; all pooled over images at the size of the labels"
)
IOU, NMS_IOU, MOST = 0.5, 0.6, 300  # of a match, between two vehicles, and how many are kept: YOLOP's
# Of each task, its metrics by the names that `semantic_scores` has for two classes.
PIXEL_METRICS = {
    "drivable": {"drivable_mIoU": "mIoU"},
    "lane": {"lane_accuracy": "ACC-marked", "lane_balanced_accuracy": "mACC", "lane_IoU": "IoU-marked"},
}


class DrivingEvaluator(DatasetEvaluator):
    """Recall and AP50 of vehicles, mIoU of drivable area, accuracy and IoU of lanes, beside each task's own metrics.

    Processes exchange boxes and counts, never pictures.
    """

    def __init__(self, dataset_name: str, tasks: Sequence[str], folder: Path) -> None:
        """Reads the records, no label map.

        Args:
            dataset_name: its metadata have ``thing_classes`` and the ``stuff_classes/NAME`` of its named tasks, the
                last of which is background.
            tasks: of ``detection``, ``semantic/drivable`` and ``semantic/lane``; others are passed over.
            folder: nothing is written to it.

        Raises:
            DataError: a line for each mistake that keeps the objects from being evaluated.
        """
        self._name = dataset_name
        self._truth = object_truth(dataset_name, ("bbox",)) if "detection" in tasks else None
        self._metadata = MetadataCatalog.get(dataset_name)
        self._keys = {name: LabelMapKeys().named(name) for name in PIXEL_METRICS if f"semantic/{name}" in tasks}
        self._records = {record["file_name"]: record for record in read_records(dataset_name)}
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._vehicles: list[Record] = []
        self._confusions = {name: np.zeros((2, 3), np.int64) for name in self._keys}
        self._mistakes: list[str] = []

    def process(self, inputs: list[Record], outputs: list[Mapping[str, Any]]) -> None:
        """Counts some images; what does not fit is kept for :meth:`evaluate`.

        Args:
            inputs: each with the ``file_name`` of a record.
            outputs: ``instances`` with boxes at the record's size; ``sem_seg/NAME``, scores (C, H, W) or ids (H, W).
        """
        for given, output in zip(inputs, outputs, strict=True):
            record = self._records.get(given["file_name"])
            if record is None:
                self._mistakes.append(f"{given['file_name']}: no image of {self._name}")
                continue
            if self._truth is not None and "instances" in output:
                image_id = self._truth.image_ids[image_key(record)]
                self._vehicles += vehicles_of(output["instances"], self._truth.classes, image_id)
            for name, keys in self._keys.items():
                try:
                    self._confusions[name] += self._confusion(keys, record, output)
                except DataError as error:
                    self._mistakes.append(str(error))

    def evaluate(self, img_ids: Collection[Any] | None = None) -> dict[str, Metrics] | None:
        """``{"driving": metrics}`` in percent on the first process, None on the others.

        A metric is 0 where there is a truth and no prediction, NaN where there is no truth.

        Args:
            img_ids: keys of the images whose objects count; None = all.

        Raises:
            DataError: on all processes, a line for each label map or prediction that could not be counted.
        """
        parts = comm.all_gather((self._vehicles, self._confusions, self._mistakes))
        raise_mistakes(self._name, [mistake for _, _, mistakes in parts for mistake in mistakes])
        if not comm.is_main_process():
            return None
        metrics: Metrics = {}
        if self._truth is not None:
            only = None if img_ids is None else {self._truth.image_ids[key] for key in img_ids}
            truth = vehicles_alone(self._truth.api("bbox", only))
            metrics |= vehicle_metrics(truth, [vehicle for vehicles, _, _ in parts for vehicle in vehicles])
        for name in self._keys:
            metrics |= pixel_metrics(name, sum(confusions[name] for _, confusions, _ in parts))
        return {GROUP: metrics}

    def _confusion(self, keys: LabelMapKeys, record: Record, output: Mapping[str, Any]) -> np.ndarray:
        """Pixels of an image, see :func:`background_and_marked`; none where it has no label map."""
        if keys.file not in record:
            return np.zeros((2, 3), np.int64)
        path, classes = record[keys.file], list(self._metadata.get(keys.classes))
        ignored = record.get(keys.ignored, self._metadata.get(keys.ignored, 255))
        truth = read_label_map(path, len(classes), ignored, record.get(keys.table))
        predicted = np.full(truth.shape, -1)
        if keys.sample in output:
            predicted = class_ids(output[keys.sample], len(classes), record["file_name"])
        if predicted.shape != truth.shape:
            raise DataError(
                f"{path}: size {truth.shape} (height, width), but the prediction for its image has {predicted.shape}: "
                "`height` and `width` of the record are to be its own"
            )
        return background_and_marked(confusion_matrix(truth, predicted, len(classes), ignored), classes)


def vehicles_of(instances: Instances, classes: Sequence[str], image_id: int | str) -> list[Record]:
    """The vehicles predicted in an image as COCO's results of one class, 1: the best first, less those on another.

    Args:
        instances: ``pred_boxes``, ``scores`` and ``pred_classes``.
        classes: names by class id.
        image_id: of the truth.
    """
    ids = [i for i, name in enumerate(classes) if name in VEHICLES]
    vehicles = instances.to("cpu")
    vehicles = vehicles[[int(c) in ids for c in vehicles.pred_classes]]
    vehicles = vehicles[nms(vehicles.pred_boxes.tensor, vehicles.scores, NMS_IOU)[:MOST]]
    corners = vehicles.pred_boxes.tensor.numpy()
    boxes = BoxMode.convert(corners, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist() if len(vehicles) else []
    return [
        {"image_id": image_id, "category_id": 1, "bbox": box, "score": score}
        for box, score in zip(boxes, vehicles.scores.tolist(), strict=True)
    ]


def vehicles_alone(truth: COCO) -> COCO:
    """The truth less all objects but vehicles, which are of one class, 1."""
    ids = {category["id"] for category in truth.dataset["categories"] if category["name"] in VEHICLES}
    vehicles = [{**a, "category_id": 1} for a in truth.dataset["annotations"] if a["category_id"] in ids]
    return coco_api({**truth.dataset, "annotations": vehicles, "categories": [{"id": 1, "name": "vehicle"}]})


def vehicle_metrics(truth: COCO, results: Sequence[Record]) -> Metrics:
    """Recall of all that is predicted, whatever its score, and AP, at IoU 0.5.

    Args:
        truth: of one class, 1.
        results: COCO's; those of other images are passed over.
    """
    inside = [result for result in results if result["image_id"] in truth.imgs]
    with contextlib.redirect_stdout(io.StringIO()):
        predicted = truth.loadRes(inside) if inside else coco_api({**truth.dataset, "annotations": []})
        evaluation = COCOeval(truth, predicted, "bbox")
        whole = evaluation.params.areaRng[0]
        evaluation.params.iouThrs, evaluation.params.maxDets = np.array([IOU]), [MOST]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [whole], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    values = {"recall": evaluation.eval["recall"], "AP50": evaluation.eval["precision"]}
    # pycocotools says -1 where there is no object.
    return {name: 100 * float(value.mean()) if value.min() >= 0 else np.nan for name, value in values.items()}


def background_and_marked(confusion: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The confusion matrix of background and everything else.

    Args:
        confusion: (C, C + 1) as ``confusion_matrix`` gives it.
        classes: names of the C classes.

    Returns:
        (2, 3), truth by prediction: background, marked; the last column counts predictions of no class.
    """
    marked = np.array([name != BACKGROUND for name in classes], int)
    rows = np.eye(2, dtype=int)[:, marked]  # (2, C)
    return rows @ confusion @ np.eye(3, dtype=int)[:, [*marked, 2]].T


def pixel_metrics(name: str, confusion: np.ndarray) -> Metrics:
    """The metrics of a task in percent.

    Args:
        name: ``drivable`` or ``lane``.
        confusion: as :func:`background_and_marked` gives it, summed over images.
    """
    scores = semantic_scores(confusion, (BACKGROUND, "marked"), "bdd100k")
    return {metric: scores[of] for metric, of in PIXEL_METRICS[name].items()}


def _evaluate_images(evaluator: DatasetEvaluator, records: Sequence[Record]) -> Any:
    """It counts the objects of all images of its set, unless it is told which."""
    return evaluator.evaluate([image_key(record) for record in records])  # type: ignore[call-arg]


def _require_all_classes(name: str) -> None:
    keys = [LabelMapKeys().named(of).classes for of in PIXEL_METRICS]
    require_all_classes(name, ("thing_classes", *keys), "the metrics of driving networks")


DRIVING = Tool(
    "the metrics of driving networks",
    lambda name, kinds, folder: DrivingEvaluator(name, [kind.task for kind in kinds], folder),
    "look at the classes in its metadata, its boxes and its label maps",
    evaluate_on=_evaluate_images,
    require=_require_all_classes,
    perfect=90.0,  # of two vehicles that overlap much one is left out, as if it were predicted twice
    can_be_zero=False,  # where direct is predicted as alternative everywhere, it is drivable
    group=GROUP,
    definition=DEFINITION,
    takes_ids=True,
)


def driving_tools(name: str, evaluator_type: Any) -> tuple[Tool, ...]:
    """Evaluates, besides others, the label maps of this name on data sets of this ``evaluator_type``; or nothing."""
    return (DRIVING,) if name in PIXEL_METRICS and evaluator_type == EVALUATOR_TYPE else ()
