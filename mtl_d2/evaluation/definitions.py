"""Whose definition a metric follows, for tables in which two of them stand."""

from __future__ import annotations

from detectron2.data import MetadataCatalog

from mtl_d2.evaluation import cityscapes
from mtl_d2.evaluation.semantic import semantic_convention
from mtl_d2.evaluation.semantic_scores import CONVENTIONS

COCO = "AP as by pycocotools: precision is the highest at any recall from there on"


def definition(dataset_name: str, group: str) -> str:
    """What the metrics of a group are on a data set, and whose tool says so; "" where only one definition is in use.

    Args:
        dataset_name: in detectron2's catalog.
        group: ``bbox``, ``segm``, ``sem_seg`` or another group of metrics.
    """
    scripted = MetadataCatalog.get(dataset_name).get("evaluator_type") in cityscapes.EVALUATOR_TYPES
    if scripted and group in cityscapes.DEFINITIONS:
        return cityscapes.DEFINITIONS[group]
    if group == "sem_seg":
        return CONVENTIONS[semantic_convention(dataset_name)].definition
    return COCO if group in ("bbox", "segm") else ""
