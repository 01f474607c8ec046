"""Instance segmentation: a mask for each detected object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.checks.files import uncuttable
from mtl_d2.data.objects import has_masks
from mtl_d2.evaluation.cityscapes import DEFINITIONS, EVALUATOR_TYPES, MASKS
from mtl_d2.evaluation.coco import PYCOCOTOOLS
from mtl_d2.evaluation.tools import Tool
from mtl_d2.pseudo_labels.manifest import tasks_of
from mtl_d2.tasks.base import Record, Sample
from mtl_d2.tasks.detection import Detection
from mtl_d2.tasks.registry import task_kind


@task_kind
class Instance(Detection):
    """Masks of detectron2's ``annotations``, beside their boxes.

    A record is labelled where all its annotations have a ``segmentation``, regions aside; an image without objects
    lacks nothing of theirs. Samples have ``gt_masks`` in their ``instances``.
    """

    name = "instance"
    group = "segm"
    reads_masks = True
    evaluator_types = EVALUATOR_TYPES

    def is_in(self, sample: Sample) -> bool:
        """Whether the instances of a sample have masks."""
        return super().is_in(sample) and sample[self.sample_key].has("gt_masks")

    def is_in_record(self, record: Record) -> bool:
        """Whether all objects of a record have masks."""
        return super().is_in_record(record) and has_masks(record)

    def is_in_some(self, records: Iterable[Record]) -> bool:
        """Whether an object has a mask; images that show nothing do not say whether others have masks."""
        annotations = (a for r in records for a in r.get("annotations") or () if isinstance(a, Mapping))
        masks = (a.get("segmentation") for a in annotations)
        return any(mask is not None and not (isinstance(mask, Sized) and len(mask) == 0) for mask in masks)

    def where(self) -> str:
        """In words, where a record has the label."""
        return f"{super().where()} with `segmentation`"

    def check_config(self, cfg: Any) -> Iterator[str]:
        """A teacher's masks are pixels, of which detectron2 makes no polygons."""
        folders = [folder for folder in cfg.MTL.PSEUDO_LABELS.FOLDERS if self.task in tasks_of(folder)]
        if folders and cfg.INPUT.MASK_FORMAT == "polygon":
            yield (
                f"INPUT.MASK_FORMAT is 'polygon', but the masks of {folders[0]} of MTL.PSEUDO_LABELS.FOLDERS are "
                "pixels: set it to 'bitmask'"
            )

    def check_records(self, examination: Examination) -> None:
        """Polygons that a crop would cut, and what holds of boxes."""
        if examination.is_trained_on:
            examination.refuse(uncuttable(examination.cfg, examination.records))
        super().check_records(examination)

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """Cityscapes' scripts for its data sets, pycocotools for others."""
        return (MASKS,) if evaluator_type in EVALUATOR_TYPES else (PYCOCOTOOLS,)

    def definition(self, dataset: str) -> str:
        """That of the tool."""
        scripted = self.metadata(dataset).get("evaluator_type") in EVALUATOR_TYPES
        return DEFINITIONS["segm"] if scripted else super().definition(dataset)
