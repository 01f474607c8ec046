"""The best that can be said of an image without looking at it: what every trained model has to beat."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode, Instances, pairwise_iou
from torch import Tensor, nn

from mtl_d2.data.images import read_label_map
from mtl_d2.data.loader import training_records
from mtl_d2.data.objects import is_region
from mtl_d2.evaluation.truth import size_of

GRID = (64, 96)  # height and width at which label frequencies are counted
BOXES_PER_CLASS = 20
MATCH = 0.5  # IoU at which a box counts as found
SAMPLED = 1000  # boxes of a class that are looked at


class ConstantPredictor(nn.Module):
    """Says the same of every image: the labels most frequent at each place, and the boxes that hit most often."""

    def __init__(
        self, boxes: Tensor, scores: Tensor, classes: Tensor, frequencies: Tensor, masks: bool = False
    ) -> None:
        """Builds it of what is to be said.

        Args:
            boxes: (K, 4) x1, y1, x2, y2 as shares of width and height.
            scores: (K,) in [0, 1].
            classes: (K,) int64.
            frequencies: (C, h, w) how often each class stands at each place; C may be 0.
            masks: whether each box is filled by a mask.
        """
        super().__init__()
        self.masks = masks
        self.boxes, self.scores, self.classes, self.frequencies = boxes, scores, classes, frequencies

    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Any]]:
        """detectron2's inference format."""
        return [self._of_size(x["height"], x["width"]) for x in batched_inputs]

    def _of_size(self, height: int, width: int) -> dict[str, Any]:
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        instances = Instances(
            (height, width), pred_boxes=Boxes(self.boxes * scale), scores=self.scores, pred_classes=self.classes
        )
        if self.masks:
            instances.pred_masks = _inside(instances.pred_boxes.tensor, height, width)
        output: dict[str, Any] = {"instances": instances}
        if len(self.frequencies):
            output["sem_seg"] = nn.functional.interpolate(self.frequencies[None], (height, width), mode="bilinear")[0]
        return output


def fit_constant_predictor(cfg: Any) -> ConstantPredictor:
    """The best constant predictor of the training sets of ``cfg``."""
    records = [record for name in cfg.DATASETS.TRAIN for record in training_records(cfg, name)]
    by_class: dict[int, list[list[float]]] = defaultdict(list)
    images = 0
    counts = np.zeros((cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, *GRID), np.float32)
    for record in records:
        if "annotations" in record:
            images += 1
            height, width = size_of(record)
            size = np.array([width, height] * 2)
            for a in record["annotations"]:
                if not is_region(a):
                    box = BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
                    by_class[a["category_id"]].append(list(np.asarray(box) / size))
        if "semantic" in cfg.MTL.TASKS and "sem_seg_file_name" in record:
            counts += _label_frequencies(record, cfg.MODEL.SEM_SEG_HEAD)
    chosen = [(box, score, k) for k, found in by_class.items() for box, score in _hitting_boxes(found, images)]
    return ConstantPredictor(
        torch.tensor([box for box, _, _ in chosen]).reshape(-1, 4).float(),
        torch.tensor([score for _, score, _ in chosen]),
        torch.tensor([k for _, _, k in chosen], dtype=torch.long),
        torch.from_numpy(counts if counts.any() else counts[:0]),
        masks="instance" in cfg.MTL.TASKS,
    )


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(K, 4) x1, y1, x2, y2 in pixels -> (K, H, W) bool."""
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
    return (x >= x1) & (x < x2) & (y >= y1) & (y < y2)


def _label_frequencies(record: dict[str, Any], head: Any) -> np.ndarray:
    table = record.get("sem_seg_table")
    ignored = record.get("ignore_label", head.IGNORE_VALUE)
    labels = read_label_map(record["sem_seg_file_name"], head.NUM_CLASSES, ignored, table)
    labels = np.where(labels == ignored, np.uint8(head.IGNORE_VALUE), labels)
    small = cv2.resize(labels, GRID[::-1], interpolation=cv2.INTER_NEAREST)
    return (small == np.arange(head.NUM_CLASSES)[:, None, None]).astype(np.float32)


def _hitting_boxes(found: list[list[float]], images: int) -> list[tuple[list[float], float]]:
    """Boxes picked one by one, each the one that hits most of the boxes not hit so far; scored by hits an image."""
    boxes = Boxes(torch.tensor(found[:: max(1, len(found) // SAMPLED)]))
    hits = pairwise_iou(boxes, boxes) >= MATCH
    chosen: list[tuple[list[float], float]] = []
    while len(chosen) < BOXES_PER_CLASS and hits.any():
        best = int(hits.sum(1).argmax())
        share = float(hits[best].sum()) / len(boxes) * len(found) / images
        chosen.append((boxes.tensor[best].tolist(), min(share, 1.0)))
        hits[:, hits[best].clone()] = False
    return chosen
