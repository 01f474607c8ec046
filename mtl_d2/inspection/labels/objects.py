"""Boxes and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.structures import BoxMode, Instances, pairwise_iou

from mtl_d2.data.objects import REGIONS, is_region
from mtl_d2.inspection.labels.base import Array, Inspector, Labels, Profile, Summary, inspector, lab
from mtl_d2.inspection.labels.object_page import object_html
from mtl_d2.inspection.suspicions.objects import notable_objects, odd_objects
from mtl_d2.report.canvas import Canvas
from mtl_d2.tasks.base import Sample
from mtl_d2.tasks.detection import Detection

SAME = 0.3  # IoU from which on two boxes are of one object
GREY = (160, 160, 160)


@dataclass(frozen=True)
class SeenObjects:
    """The objects of a sample.

    Attributes:
        classes: (K,) ids.
        boxes: (K, 4) x0, y0, x1, y1 in pixels, as trained on.
        size: height and width of the image.
        colors: (K, 3) mean L*a*b* of the middle of each box.
        filled: (K,) share of its box that each mask covers; (0,) without masks.
        regions: how many regions are left out.
    """

    classes: Array
    boxes: Array
    size: tuple[int, int]
    colors: Array
    filled: Array
    regions: int


@dataclass
class ObjectCounts:
    """What the records of a data set hold.

    Attributes:
        objects: by class id.
        images: by class id, those that show it.
        empty: images that show none.
        total: of images.
        regions: crowd regions.
        repeated: objects that another one of the image repeats, class and box.
        whole: objects whose box is the whole image.
        reach: the largest x1 / width and y1 / height of any box.
        first: files where what is counted was met first.
    """

    objects: Counter[int]
    images: Counter[int]
    empty: int
    total: int
    regions: int
    repeated: int
    whole: int
    reach: tuple[float, float]
    first: dict[str, str]


@inspector.register(Detection)
class ObjectInspector(Inspector):
    """Of detection, and of kinds that derive from it."""

    def observe(self, sample: Sample, image: Array) -> SeenObjects:
        """See ``Inspector``."""
        instances: Instances = sample[self.kind.sample_key]
        boxes = instances.gt_boxes.tensor.numpy().astype(np.float32)
        masks = pixel_masks(instances)
        areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
        filled = masks.sum((1, 2)) / areas if masks is not None else np.zeros(0)
        colors = _middle_colors(lab(image), boxes)
        regions = len(sample[REGIONS]) if REGIONS in sample else 0
        return SeenObjects(instances.gt_classes.numpy(), boxes, image.shape[:2], colors, filled, regions)

    def agreement(self, true: Sample, taught: Sample) -> tuple[float, float]:
        """See ``Inspector``: boxes that lie on an object of their class."""
        real, given = (sample[self.kind.sample_key] for sample in (true, taught))
        if not len(given):
            return 0.0, 0.0
        on = pairwise_iou(given.gt_boxes, real.gt_boxes) >= SAME
        alike = given.gt_classes[:, None] == real.gt_classes[None]
        return float((on & alike).any(1).sum()), float(len(given))

    def draw(self, canvas: Canvas, sample: Sample, metadata: Any) -> None:
        """Boxes with masks, and the outlines of regions that are left out."""
        given: Instances = sample[self.kind.sample_key]
        shown = Instances(given.image_size, pred_boxes=given.gt_boxes, pred_classes=given.gt_classes)
        masks = pixel_masks(given)
        if masks is not None:
            shown.pred_masks = torch.from_numpy(masks)
        if REGIONS in sample:
            canvas.image = _with_regions(canvas.image, sample[REGIONS].tensor.numpy())
        self.kind.draw_prediction(canvas, shown, metadata)

    def summary(self, labels: Labels) -> Summary:
        """See ``Inspector``."""
        counts = count_objects(labels)
        summary = Summary(object_html(labels, counts))
        summary.suspicious += odd_objects(labels, counts, self.cfg)
        summary.notes += notable_objects(labels, counts, self.cfg)
        summary.profiles = dict(_profiles(labels))
        return summary


def pixel_masks(instances: Instances) -> Array | None:
    """(K, H, W) bool; None where instances have no masks."""
    if not instances.has("gt_masks"):
        return None
    masks = instances.gt_masks
    if hasattr(masks, "tensor"):
        return masks.tensor.numpy().astype(bool)
    height, width = instances.image_size
    pixels = np.zeros((len(instances), height, width), dtype=bool)
    for mask, polygons in zip(pixels, masks.polygons, strict=True):
        one = np.zeros((height, width), np.uint8)
        cv2.fillPoly(one, [np.rint(polygon.reshape(-1, 2)).astype(np.int32) for polygon in polygons], 1)
        mask[:] = one
    return pixels


def _middle_colors(colors: Array, boxes: Array) -> Array:
    """(K, 3) means of the middle half, by side, of each box."""
    sums = np.pad(colors.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    height, width = colors.shape[:2]
    middle = np.concatenate([0.75 * boxes[:, :2] + 0.25 * boxes[:, 2:], 0.25 * boxes[:, :2] + 0.75 * boxes[:, 2:]], 1)
    x0, y0 = (np.floor(middle[:, i]).astype(int).clip(0, end - 1) for i, end in ((0, width), (1, height)))
    x1, y1 = (
        np.ceil(middle[:, 2]).astype(int).clip(x0 + 1, width),
        np.ceil(middle[:, 3]).astype(int).clip(y0 + 1, height),
    )
    areas = ((x1 - x0) * (y1 - y0))[:, None]
    return (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / areas


def _with_regions(image: Array, boxes: Array) -> Array:
    """The image with the diagonals and borders of boxes over it."""
    drawn = image.copy()
    for x0, y0, x1, y1 in np.rint(boxes).astype(int).tolist():
        cv2.rectangle(drawn, (x0, y0), (x1, y1), GREY, 1)
        cv2.line(drawn, (x0, y0), (x1, y1), GREY, 1)
        cv2.line(drawn, (x0, y1), (x1, y0), GREY, 1)
    return drawn


def count_objects(labels: Labels) -> ObjectCounts:
    """Goes through all records of the data set."""
    counts = ObjectCounts(Counter(), Counter(), 0, len(labels.records), 0, 0, 0, (0.0, 0.0), {})
    reach = [0.0, 0.0]
    for record in labels.records:
        annotations = record[labels.kind.record_key] or ()
        objects = [a for a in annotations if not is_region(a)]
        counts.regions += len(annotations) - len(objects)
        counts.empty += not objects
        counts.objects.update(a["category_id"] for a in objects)
        counts.images.update({a["category_id"] for a in objects})
        boxes = [(a["category_id"], *_corners(a)) for a in objects]
        repeated = len(boxes) - len(set(boxes))
        whole = 0
        if "height" in record and "width" in record:
            height, width = record["height"], record["width"]
            for _, x0, y0, x1, y1 in boxes:
                reach = [max(reach[0], x1 / width), max(reach[1], y1 / height)]
                whole += x1 - x0 >= 0.98 * width and y1 - y0 >= 0.98 * height
        counts.repeated, counts.whole = counts.repeated + repeated, counts.whole + whole
        for what, number in (("repeated", repeated), ("whole", whole)):
            if number:
                counts.first.setdefault(what, record["file_name"])
    counts.reach = reach[0], reach[1]
    return counts


def _corners(annotation: dict[str, Any]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = annotation["bbox"]
    if annotation["bbox_mode"] == BoxMode.XYWH_ABS:
        return x0, y0, x0 + x1, y0 + y1
    if annotation["bbox_mode"] == BoxMode.XYXY_ABS:
        return x0, y0, x1, y1
    return tuple(BoxMode.convert([x0, y0, x1, y1], annotation["bbox_mode"], BoxMode.XYXY_ABS))  # type: ignore[return-value]


def _profiles(labels: Labels) -> Iterator[tuple[str, Profile]]:
    """Height in the image, size, form and colour of the objects of each class."""
    names, seen = labels.names, [one for one in labels.observed if len(one.classes)]
    if not seen:
        return
    classes = np.concatenate([one.classes for one in seen])
    features = np.concatenate([_features(one) for one in seen])
    for i in np.unique(classes).tolist():
        if 0 <= i < len(names):
            yield names[i], Profile(features[classes == i])


def _features(seen: SeenObjects) -> Array:
    """(K, 6): middle from top to bottom in [0, 1], logarithms of height and of width by height, and colour."""
    height, _ = seen.size
    x0, y0, x1, y1 = seen.boxes.T
    tall, wide = np.maximum(y1 - y0, 0.5), np.maximum(x1 - x0, 0.5)
    return np.column_stack([(y0 + y1) / 2 / height, np.log(tall / height), np.log(wide / tall), seen.colors])
