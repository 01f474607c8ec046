"""PASCAL VOC's own AP, beside COCO's.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2, and the development kits'
``VOCevaldet.m``: a prediction, the best first, is right if the object of its class that it overlaps most does so by an
IoU of 0.5 and was not found before; if that object is difficult, the prediction does not count.

Differs from detectron2's ``PascalVOCDetectionEvaluator``, which has the same rule: objects come from the records, so
that any VOC data set can be evaluated; an IoU of exactly 0.5 is enough, as in the kits; scores keep all of their
digits, where it orders predictions by three.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import from_numpy
from torchvision.ops import box_iou

from mtl_d2.data.annotations import image_key
from mtl_d2.evaluation.object_truth import ObjectTruth, object_truth
from mtl_d2.evaluation.tools import Tool

Array = npt.NDArray[Any]
Metrics = dict[str, float]

EVALUATOR_TYPE = "voc"
GROUP = "voc"
AREA, POINTS = "AP50", "AP50_11_points"
HIGHER = {POINTS: True}  # AP50 is a metric of every detection
DEFINITION = (
    f"{AREA} is the area below precision over recall, as from VOC2010 on, {POINTS} the mean precision at 11 recalls, "
    "as until VOC2009; difficult objects are neither missed nor falsely found"
)
IOU = 0.5


class VocEvaluator(DatasetEvaluator):
    """Mean AP over the classes that some image shows; processes exchange boxes."""

    def __init__(self, dataset_name: str) -> None:
        """Reads the records, whose crowd regions are the difficult objects.

        Raises:
            DataError: a line for each mistake that keeps them from being evaluated.
        """
        self._truth = object_truth(dataset_name, ("bbox",))
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._found: list[tuple[Any, Array, Array, Array]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[Mapping[str, Any]]) -> None:
        """Keeps the boxes of some images.

        Args:
            inputs: each known again by its ``image_id``.
            outputs: with ``instances``, of the size of the image.
        """
        for given, output in zip(inputs, outputs, strict=True):
            if "instances" in output:
                objects = output["instances"].to("cpu")
                parts = objects.pred_boxes.tensor, objects.scores, objects.pred_classes
                image_id = self._truth.image_ids[image_key(given)]
                self._found.append((image_id, *(part.double().numpy() for part in parts)))

    def evaluate(self, img_ids: Collection[Any] | None = None) -> dict[str, Metrics] | None:
        """``{"voc": metrics}`` in percent on the first process, None on the others; NaN where there is no object.

        Args:
            img_ids: keys of the images that count; None = all.
        """
        found = [image for part in comm.gather(self._found) for image in part]
        if not comm.is_main_process():
            return None
        truth = self._truth
        images = {truth.image_ids[key] for key in (truth.image_ids if img_ids is None else img_ids)}
        images &= {image["id"] for image in truth.images}  # those that are labelled
        curves = [
            _curve(
                _objects(truth, images, category),
                _predictions(found, _without(images, truth.left_out, category), number),
                _without(images, truth.not_exhaustive, category),
            )
            for number, category in enumerate(truth.category_ids)
        ]
        means = {AREA: area, POINTS: eleven_points}
        shown = [curve for curve in curves if curve is not None]
        return {
            GROUP: {
                name: 100 * float(np.mean([mean(*c) for c in shown])) if shown else np.nan
                for name, mean in means.items()
            }
        }


def _without(images: Collection[Any], categories: Mapping[Any, Collection[Any]], category: Any) -> Collection[Any]:
    """The images that do not have a category in their entry."""
    return {image for image in images if category not in categories.get(image, ())} if categories else images


def _objects(truth: ObjectTruth, images: Collection[Any], category: Any) -> dict[Any, tuple[Array, Array]]:
    """Boxes (K, 4) and whether they are difficult (K,), by image."""
    boxes, difficult = defaultdict(list), defaultdict(list)
    for annotation in truth.annotations:
        if annotation["category_id"] == category and annotation["image_id"] in images:
            x, y, width, height = annotation["bbox"]
            boxes[annotation["image_id"]].append([x, y, x + width, y + height])
            difficult[annotation["image_id"]].append(bool(annotation["iscrowd"]))
    return {image: (np.array(boxes[image], float), np.array(difficult[image])) for image in boxes}


def _predictions(
    found: Sequence[tuple[Any, Array, Array, Array]], images: Collection[Any], number: int
) -> list[tuple[float, Any, Array]]:
    """Score, image and box of each prediction of a class, the best first."""
    of_class = [
        (float(scores[k]), image, boxes[k])
        for image, boxes, scores, classes in found
        if image in images
        for k in np.flatnonzero(classes == number)
    ]
    return sorted(of_class, key=lambda one: -one[0])


def _curve(
    objects: Mapping[Any, tuple[Array, Array]],
    predictions: Sequence[tuple[float, Any, Array]],
    exhaustive: Collection[Any],
) -> tuple[Array, Array] | None:
    """Recall and precision after each prediction that counts; None where there is nothing to be found.

    Where an image's objects are not all that it shows, only predictions that are right count; it is not among those
    that are ``exhaustive``.
    """
    wanted = sum(int((~difficult).sum()) for _, difficult in objects.values())
    if not wanted:
        return None
    taken = {image: np.zeros(len(boxes), bool) for image, (boxes, _) in objects.items()}
    right: list[bool] = []
    for _, image, box in predictions:
        best = _overlapped(box, objects[image][0]) if image in objects else None
        is_right = best is not None and not taken[image][best]
        is_difficult = best is not None and bool(objects[image][1][best])
        if not is_difficult and (is_right or image in exhaustive):
            right.append(is_right)
        if is_right:
            taken[image][best] = True
    hits = np.cumsum(right, dtype=float)
    return hits / wanted, hits / np.arange(1, len(hits) + 1)


def _overlapped(box: Array, boxes: Array) -> int | None:
    """The box that is overlapped most, if it is enough."""
    overlaps = box_iou(from_numpy(box[None]), from_numpy(boxes))[0].numpy()
    best = int(overlaps.argmax())
    return best if overlaps[best] >= IOU else None


def area(recall: Array, precision: Array) -> float:
    """Below the highest precision at any recall from there on.

    Args:
        recall: (N,) in the order of the predictions.
        precision: (N,).
    """
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * highest).sum())


def eleven_points(recall: Array, precision: Array) -> float:
    """Mean over recalls of 0, 0.1, ..., 1 of the highest precision from there on; see :func:`area`."""
    return float(np.mean([precision[recall >= at].max(initial=0.0) for at in np.arange(0.0, 1.1, 0.1)]))


def _evaluate_images(evaluator: DatasetEvaluator, records: Sequence[Mapping[str, Any]]) -> Any:
    return evaluator.evaluate([image_key(dict(record)) for record in records])  # type: ignore[call-arg]


VOC_AP = Tool(
    "PASCAL VOC's AP",
    lambda name, kinds, folder: VocEvaluator(name),
    "look at the classes in its metadata and at its boxes",
    evaluate_on=_evaluate_images,
    perfect=99.0,  # of two objects of a class with the same box one is found twice
    group=GROUP,
    definition=DEFINITION,
)
