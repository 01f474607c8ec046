"""Annotated objects of a record: as instances to learn from, and the regions in which objects are not told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks

from mtl_d2.data.annotated_classes import annotated_key, annotated_mask
from mtl_d2.data.geometry import Geometry
from mtl_d2.data.object_geometry import transformed_boxes, transformed_masks

REGIONS = (
    "regions_left_out"  # key of a sample: Boxes (K, 4), K >= 1, in pixels, of annotations that ``is_region`` names
)
SMALL = 1e-3  # of a pixel; detectron2 drops boxes a hundredth as wide
ANNOTATED = annotated_key("thing_classes")  # of a record, the state of each class, and of a sample


def is_region(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is no object but a region to be left out, where objects are not told apart or not sought.

    Data sets say so by ``iscrowd`` or ``ignore``, 0 or 1; absent = 0.
    """
    return bool(annotation.get("iscrowd", 0) or annotation.get("ignore", 0))


def has_masks(record: Mapping[str, Any]) -> bool:
    """Whether all objects of a record with ``annotations`` have masks; without objects it lacks nothing of theirs."""
    return all("segmentation" in a for a in record["annotations"] if not is_region(a))


@dataclass(frozen=True)
class InstanceReader:
    """Reads ``annotations`` into ``instances``, and regions beside them; and which classes are annotated, if not all.

    Attributes:
        masks: whether instances have ``gt_masks``.
        mask_format: "polygon" or "bitmask", as ``INPUT.MASK_FORMAT``.
        boxes_of_masks: whether boxes are taken of the transformed masks: a crop that cuts an object leaves a tighter
            box than the cut box is.
        leave_regions_out: whether samples have ``regions_left_out``; without it they are background.
    """

    masks: bool
    mask_format: str
    boxes_of_masks: bool
    leave_regions_out: bool

    def __call__(self, record: dict[str, Any], geometry: Geometry) -> dict[str, Any]:
        """See ``mtl_d2.tasks.base.Reader``."""
        label: dict[str, Any] = {"instances": self._instances(record, geometry)}
        if ANNOTATED in record:
            label[ANNOTATED] = annotated_mask(record[ANNOTATED])
        regions = _regions(record, geometry) if self.leave_regions_out else None
        return label if regions is None else {**label, REGIONS: regions}

    def _instances(self, record: dict[str, Any], geometry: Geometry) -> Instances:
        annotations = [annotation for annotation in record["annotations"] if not is_region(annotation)]
        boxes = transformed_boxes(annotations, geometry)
        instances = Instances(geometry.after)
        instances.gt_boxes = Boxes(boxes)
        instances.gt_classes = torch.tensor([int(a["category_id"]) for a in annotations], dtype=torch.int64)
        if self.masks:
            instances.gt_masks = self._masks(annotations, geometry)
            if self.boxes_of_masks:
                instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        elif (boxes[:, 2:] - boxes[:, :2] > SMALL).all():  # none is empty, which takes longer to be found so below
            return instances
        return utils.filter_empty_instances(instances)

    def _masks(self, annotations: Sequence[Mapping[str, Any]], geometry: Geometry) -> PolygonMasks | BitMasks:
        if not annotations:  # detectron2 leaves the field out
            return _no_masks(self.mask_format, geometry.after)
        given = {"bbox": (0, 0, 0, 0), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
        masks = [{**given, "segmentation": mask} for mask in transformed_masks(annotations, geometry)]
        return utils.annotations_to_instances(masks, geometry.after, self.mask_format).gt_masks


def _regions(record: dict[str, Any], geometry: Geometry) -> Boxes | None:
    """The boxes of a record's regions as the image shows them, None = there is none.

    Those that a crop leaves nothing of are dropped.

    A region with a mask counts with the box around it: so does evaluation, and it is the lesser harm to leave too much
    of the background out.
    """
    regions = [annotation for annotation in record["annotations"] if is_region(annotation)]
    if not regions:
        return None
    boxes = Boxes(transformed_boxes(regions, geometry).astype(np.float32))
    shown = boxes[boxes.nonempty(threshold=1e-5)]  # as detectron2 has it for objects
    return shown if len(shown) else None


def _no_masks(mask_format: str, size: tuple[int, int]) -> PolygonMasks | BitMasks:
    return PolygonMasks([]) if mask_format == "polygon" else BitMasks(torch.zeros(0, *size, dtype=torch.bool))
