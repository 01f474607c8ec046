"""What a model would say of a record if it were right about all of it, or about none of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.structures import Boxes, BoxMode, Instances
from torch import Tensor

from mtl_d2.data.annotations import clean_annotations
from mtl_d2.data.errors import DataError
from mtl_d2.data.image_size import image_size
from mtl_d2.data.images import read_label_map
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.evaluation.class_subsets import pixel_subset

Record = dict[str, Any]


class Truth(Protocol):
    """Predictions of one kind, of a data set's records as its reader gives them.

    Attributes:
        key: of a model's output.
    """

    key: str

    def right(self, record: Record) -> Any:
        """All of it, in the ids of the training sets, which are the model's."""

    def wrong(self, record: Record) -> Any:
        """Nothing of it; None where nothing can be wrong, as with a single class."""

    def pixels(self, record: Record) -> int:
        """How many are looked at: what it costs."""


class Objects:
    """Boxes, and masks where they are predicted.

    Those are left out that training leaves out too.
    """

    key = "instances"

    def __init__(self, cfg: Any, name: str, masks: bool) -> None:
        """Args: the run's config; the data set; whether masks are predicted."""
        self._masks = masks
        self._ids = model_ids(cfg, name, "thing_classes")

    def right(self, record: Record) -> Instances:
        """Every object that is no crowd region, with score 1, and after them those without a pixel."""
        (cleaned,) = clean_annotations([record], self._masks, "bitmask").records
        keys = ("bbox", "bbox_mode", "category_id", *(("segmentation",) if self._masks else ()))  # no keypoints
        objects = [{k: a[k] for k in keys if k in a} for a in cleaned["annotations"] if not a.get("iscrowd", 0)]
        if self._masks:
            objects = [a if a.get("segmentation") else {**a, "segmentation": _outline(a)} for a in objects]
        size = size_of(cleaned)
        truth = annotations_to_instances(objects, size, "bitmask")
        predicted = Instances(size, pred_boxes=truth.gt_boxes, scores=torch.ones(len(truth)))
        predicted.pred_classes = truth.gt_classes if self._ids is None else self._ids[truth.gt_classes]
        if self._masks:
            predicted.pred_masks = truth.gt_masks.tensor if objects else torch.zeros(0, *size, dtype=torch.bool)
            predicted.scores[~predicted.pred_masks.flatten(1).any(1)] = 0.5  # can be found by its box alone
        return predicted[predicted.pred_classes >= 0]

    def wrong(self, record: Record) -> Instances:
        """No object at all."""
        size = size_of(record)
        predicted = Instances(size, pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
        predicted.pred_classes = torch.zeros(0, dtype=torch.long)
        if self._masks:
            predicted.pred_masks = torch.zeros(0, *size, dtype=torch.bool)
        return predicted

    def pixels(self, record: Record) -> int:
        """Of all masks."""
        return self._masks * len(record.get("annotations") or ()) * math.prod(size_of(record))


class LabelMap:
    """A class for each pixel."""

    def __init__(self, cfg: Any, name: str, keys: LabelMapKeys, number_of_classes: int, ignored: int) -> None:
        """Args: the run's config; the data set; where its maps are; the head's classes, and its id of no label."""
        metadata = MetadataCatalog.get(name)
        self.key, self._keys = keys.sample, keys
        self._classes = len(metadata.get(keys.classes))
        self._ignored = metadata.get(keys.ignored, ignored)
        self._ids = model_ids(cfg, name, keys.classes)
        self._channels = number_of_classes
        self._subset = pixel_subset(name, keys.classes)

    def right(self, record: Record) -> Tensor:
        """(C, H, W) uint8, 1 for the class of each pixel; class 0 where none is known, which must not matter."""
        return self._scores(record)

    def wrong(self, record: Record) -> Tensor | None:
        """Everywhere the class that is farthest in the list, so that it is not in the same group of classes either.

        Where not all classes are annotated, it is the next one that the pixel cannot be.
        """
        if self._subset is not None:
            wrong = self._subset.wrong()
            return None if wrong is None else self._scores(record, said=wrong)
        return self._scores(record, self._channels // 2) if self._channels > 1 else None

    def _scores(self, record: Record, shift: int = 0, said: Sequence[int] | None = None) -> Tensor:
        path, table = record[self._keys.file], record.get(self._keys.table)
        labels = torch.from_numpy(read_label_map(path, self._classes, self._ignored, table).astype(np.int64))
        if tuple(labels.shape) != size_of(record):  # a model's output has the size of the image
            size = size_of(record)
            raise DataError(f"{path}: size {tuple(labels.shape)} (height, width), but its image has {size}: correct it")
        labels[labels >= self._classes] = 0
        labels = labels if said is None else torch.tensor(said)[labels]
        labels = labels if self._ids is None else self._ids[labels].clamp(min=0)
        labels = (labels + shift) % self._channels
        return torch.zeros(self._channels, *labels.shape, dtype=torch.uint8).scatter_(0, labels[None], 1)

    def pixels(self, record: Record) -> int:
        """Of all classes."""
        return self._channels * math.prod(size_of(record))


class ClassId:
    """The class of a whole image."""

    def __init__(self, task: str) -> None:
        """Args: the task's name."""
        self.key = task

    def right(self, record: Record) -> int | None:
        """The class that the record has, if it has one."""
        return int(record[self.key]) if self.key in record else None

    def wrong(self, record: Record) -> int:
        """No class."""
        return -1

    def pixels(self, record: Record) -> int:
        """None."""
        return 0


def model_ids(cfg: Any, name: str, listed: str) -> Tensor | None:
    """Of each class of a data set, the id that a model gives it which was trained on ``DATASETS.TRAIN``.

    Args:
        cfg: of the run.
        name: of the data set.
        listed: ``thing_classes`` or ``stuff_classes``.

    Returns:
        (C,) int64, -1 for a class that no training set has; None where the ids are the same, or no list is known.
    """
    lists = [MetadataCatalog.get(n).as_dict().get(listed) for n in (*cfg.DATASETS.TRAIN, name)]
    trained, tested = next((classes for classes in lists[:-1] if classes), None), lists[-1]
    if not trained or not tested or list(trained) == list(tested):
        return None
    ids = {name: i for i, name in enumerate(trained)}
    return torch.tensor([ids.get(name, -1) for name in tested])


def size_of(record: Record) -> tuple[int, int]:
    """Height and width of a record's image.

    Raises:
        DataError: neither it nor its file says so.
    """
    size = (record["width"], record["height"]) if {"width", "height"} <= record.keys() else image_size(record)
    if size is None:
        raise DataError(f"{record['file_name']} cannot be opened, and its record does not say its size: correct it")
    width, height = map(int, size)
    return height, width


def _outline(annotation: dict[str, Any]) -> list[list[float]]:
    """The box of an object without a mask: a model gives every object one."""
    x1, y1, x2, y2 = BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS)
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]
