"""Pseudo labels that are objects: boxes with scores, and masks where the teacher has them, as COCO's JSON has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.layers import batched_nms
from detectron2.structures import BoxMode, Instances

from mtl_d2.pseudo_labels.form import Entry, Fields
from mtl_d2.pseudo_labels.thresholds import Thresholds

SMALLEST = 0.01  # pixels of a side, which the JSON's two decimals can still say


@dataclass(frozen=True)
class ObjectForm:
    """Objects of a score high enough, of which none of a class overlaps a better one too much.

    Attributes:
        record_key: of a record: its list of annotations.
    """

    record_key: str
    thresholds: ClassVar[tuple[str, ...]] = ("score", "nms")
    has_files: ClassVar[bool] = False
    most_classes: ClassVar[int | None] = None

    def label(self, prediction: Instances, thresholds: Thresholds) -> Instances:
        """See ``Form``. A lower score never drops a higher one, so that the order of the two conditions is free."""
        boxes = prediction.pred_boxes
        sure = (prediction.scores >= thresholds.score) & boxes.tensor.isfinite().all(dim=1)
        objects = prediction[sure & boxes.nonempty(threshold=SMALLEST)]
        places, scores, classes = objects.pred_boxes.tensor, objects.scores, objects.pred_classes
        return objects[batched_nms(places, scores, classes, thresholds.nms)].to("cpu")

    def write(self, label: Instances, folder: Path, name: str) -> Entry:
        """See ``Form``: nothing is written but the JSON."""
        objects = instances_to_coco_json(label, 0)
        return {
            "objects": [
                {
                    "category_id": o["category_id"] + 1,  # as COCO counts them
                    "bbox": [round(value, 2) for value in o["bbox"]],
                    "score": round(o["score"], 4),
                    **({"segmentation": o["segmentation"]} if "segmentation" in o else {}),
                }
                for o in objects
            ]
        }

    def content(self, entries: Iterable[Entry], classes: Sequence[str]) -> dict[str, Any]:
        """See ``Form``: COCO's ``images``, ``annotations`` and ``categories``."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for i, entry in enumerate(entries, 1):
            images.append({"id": i, **{key: value for key, value in entry.items() if key != "objects"}})
            for o in entry["objects"]:
                ids = {"id": len(annotations) + 1, "image_id": i}
                annotations.append({**ids, **o, "area": round(o["bbox"][2] * o["bbox"][3], 2), "iscrowd": 0})
        categories = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
        return {"images": images, "annotations": annotations, "categories": categories}

    def counts(self, entries: Iterable[Entry]) -> dict[str, int]:
        """See ``Form``."""
        objects = [len(entry["objects"]) for entry in entries]
        return {"objects": sum(objects), "images_without_objects": objects.count(0)}

    def fields(self, content: Mapping[str, Any], folder: Path) -> dict[str, Fields]:
        """See ``Form``."""
        ids = {category["id"]: i for i, category in enumerate(content["categories"])}
        objects: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            objects[annotation["image_id"]].append(_object(annotation, ids))
        return {image["file_name"]: {self.record_key: objects[image["id"]]} for image in content["images"]}

    def files(self, fields: Iterable[Fields]) -> list[str]:
        """See ``Form``."""
        return []


def _object(annotation: Mapping[str, Any], ids: Mapping[Any, int]) -> dict[str, Any]:
    """As records of detectron2 have it.

    Raises:
        ValueError: its box is none.
    """
    x, y, width, height = box = [float(value) for value in annotation["bbox"]]
    if not (math.isfinite(x) and math.isfinite(y) and 0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"annotation {annotation['id']} has the box {annotation['bbox']}")
    masks = {"segmentation": annotation["segmentation"]} if "segmentation" in annotation else {}
    return {
        "bbox": box,
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": ids[annotation["category_id"]],
        "score": float(annotation["score"]),
        "iscrowd": 0,
        **masks,
    }
