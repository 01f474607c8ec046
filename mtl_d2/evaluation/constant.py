"""The best that can be said of an image without looking at it: what every trained model has to beat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode, Instances, pairwise_iou
from torch import Tensor, nn

from mtl_d2.data.annotated_classes import NOT_ANNOTATED, annotated_key
from mtl_d2.data.images import read_label_map
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.data.loader import training_records
from mtl_d2.data.objects import is_region
from mtl_d2.evaluation.truth import size_of
from mtl_d2.tasks.base import first_of_each
from mtl_d2.tasks.registry import kinds_of

GRID = (64, 96)  # height and width at which label frequencies are counted
BOXES_PER_CLASS = 20
MATCH = 0.5  # IoU at which a box counts as found
SAMPLED = 1000  # boxes of a class that are looked at

Records = Sequence[dict[str, Any]]
Constant = Callable[[int, int], Any]  # height and width of an image, in pixels, to a prediction for it


class ConstantPredictor(nn.Module):
    """Says the same of every image, scaled to its size."""

    def __init__(self, constants: Mapping[str, Constant]) -> None:
        """Args: by key of the output, what is said."""
        super().__init__()
        self.constants = dict(constants)

    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Any]]:
        """detectron2's inference format."""
        return [{key: say(x["height"], x["width"]) for key, say in self.constants.items()} for x in batched_inputs]


def fit_constant_predictor(cfg: Any) -> ConstantPredictor:
    """The best constant predictor of the training sets of ``cfg``, for the tasks whose kinds have one."""
    records = [record for name in cfg.DATASETS.TRAIN for record in training_records(cfg, name)]
    kinds = first_of_each(kind for kind in kinds_of(cfg.MTL.TASKS) if kind.is_in_some(records))
    constants = {kind.sample_key: kind.constant(cfg, [r for r in records if kind.record_key in r]) for kind in kinds}
    return ConstantPredictor({key: constant for key, constant in constants.items() if constant is not None})


class ConstantObjects:
    """The boxes that hit most often, scored by how often an image has one there."""

    def __init__(self, records: Records, masks: bool) -> None:
        """Finds them.

        Args:
            records: with ``annotations``.
            masks: whether each box is filled by a mask.
        """
        self.masks = masks
        by_class: dict[int, list[list[float]]] = defaultdict(list)
        for record in records:
            height, width = size_of(record)
            size = np.array([width, height] * 2)
            for a in record["annotations"]:
                if not is_region(a):
                    box = BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
                    by_class[a["category_id"]].append(list(np.asarray(box) / size))
        images = _annotated(records, "thing_classes")
        chosen = [
            (box, score, k) for k, boxes in by_class.items() for box, score in _hitting_boxes(boxes, max(images(k), 1))
        ]
        self.boxes = torch.tensor([box for box, _, _ in chosen]).reshape(-1, 4).float()  # shares of width and height
        self.scores = torch.tensor([score for _, score, _ in chosen])
        self.classes = torch.tensor([k for _, _, k in chosen], dtype=torch.long)

    def __call__(self, height: int, width: int) -> Instances:
        """At the size of an image."""
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = Boxes(self.boxes * scale)
        instances = Instances((height, width), pred_boxes=boxes, scores=self.scores, pred_classes=self.classes)
        if self.masks:
            instances.pred_masks = _inside(boxes.tensor, height, width)
        return instances


class ConstantMap:
    """How often each class stands at each place."""

    def __init__(self, records: Records, keys: LabelMapKeys, number_of_classes: int, ignored: int) -> None:
        """Counts them.

        Args:
            records: with label maps.
            keys: where these are.
            number_of_classes: of the head.
            ignored: its id of pixels without a label.
        """
        counts = np.zeros((number_of_classes, *GRID), np.float32)
        for record in records:
            stored = record.get(keys.ignored, ignored)
            labels = read_label_map(record[keys.file], number_of_classes, stored, record.get(keys.table))
            labels = np.where(labels == stored, np.uint8(ignored), labels)
            small = cv2.resize(labels, GRID[::-1], interpolation=cv2.INTER_NEAREST)
            counts += small == np.arange(number_of_classes)[:, None, None]
        # A class that half of the maps is not annotated for stands twice as often in its place as they say.
        images = list(map(_annotated(records, keys.classes), range(number_of_classes)))
        if min(images, default=0) < len(records):
            counts *= (len(records) / np.maximum(images, 1)).astype(np.float32)[:, None, None]
        self.frequencies = torch.from_numpy(counts)  # (C, h, w)

    def __call__(self, height: int, width: int) -> Tensor:
        """Scores (C, height, width)."""
        return nn.functional.interpolate(self.frequencies[None], (height, width), mode="bilinear")[0]


def _annotated(records: Records, classes_key: str) -> Callable[[int], int]:
    """How many of the records are annotated for a class, by its id; those that do not say are for all."""
    said = [state for record in records if (state := record.get(annotated_key(classes_key))) is not None]
    absent = np.sum([np.frombuffer(state, np.uint8) == NOT_ANNOTATED for state in said], axis=0) if said else None
    return lambda number: len(records) - (0 if absent is None else int(absent[number]))


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(K, 4) x1, y1, x2, y2 in pixels -> (K, H, W) bool."""
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
    return (x >= x1) & (x < x2) & (y >= y1) & (y < y2)


def _hitting_boxes(objects: list[list[float]], images: int) -> list[tuple[list[float], float]]:
    """Boxes picked one by one, each the one that hits most of the boxes not hit so far; scored by hits an image."""
    boxes = Boxes(torch.tensor(objects[:: max(1, len(objects) // SAMPLED)]))
    hits = pairwise_iou(boxes, boxes) >= MATCH
    chosen: list[tuple[list[float], float]] = []
    while len(chosen) < BOXES_PER_CLASS and hits.any():
        best = int(hits.sum(1).argmax())
        share = float(hits[best].sum()) / len(boxes) * len(objects) / images
        chosen.append((boxes.tensor[best].tolist(), min(share, 1.0)))
        hits[:, hits[best].clone()] = False
    return chosen
