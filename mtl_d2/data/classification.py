"""What is wrong with the labels of tasks that classify a whole image."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mtl_d2.tasks import is_classification

Number = TypeVar("Number", int, float)


def classes_of(cfg: CfgNode) -> dict[str, int]:
    """Number of classes of each classification in ``MTL.TASKS``, from ``MODEL.CLASSIFIER.NUM_CLASSES``."""
    tasks = list(cfg.MTL.TASKS)
    numbers = each(cfg.MODEL.CLASSIFIER.NUM_CLASSES, len(tasks))
    return {task: number for task, number in zip(tasks, numbers, strict=True) if is_classification(task)}


def each(numbers: Sequence[Number], count: int) -> list[Number]:
    """A number for each of ``count`` tasks, of which a config gives as many, or one for all."""
    return list(numbers) * count if len(numbers) == 1 else list(numbers)


def wrong_classes(cfg: CfgNode, name: str, records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Class ids that do not fit the config, classes that do not fit the metadata, images of another size.

    Args:
        cfg: ``MTL.TASKS`` and ``MODEL.CLASSIFIER``, which have been checked.
        name: of the data set.
        records: all of it.
    """
    metadata = MetadataCatalog.get(name).as_dict()
    for task, number in classes_of(cfg).items():
        names = metadata.get("classes", {}).get(task)
        labelled = [record for record in records if task in record]
        other = [record for record in labelled if not isinstance(record[task], Integral)]
        ids = {record[task] for record in labelled} if not other else set()
        if names is not None and len(names) != number:
            yield (
                f"{task} has {len(names)} classes, but MODEL.CLASSIFIER.NUM_CLASSES says {number}: "
                f"set it to {len(names)}"
            )
        elif other:
            yield (
                f"`{task}` must be a whole number in 0..{number - 1}, found {_what(other[0][task])} in {len(other)} of "
                f"{len(labelled)} records, the first is of {other[0].get('file_name')}: have its reader give `int`s"
            )
        elif ids and not ids <= set(range(number)):
            yield f"`{task}` must be in 0..{number - 1}, found {sorted(ids - set(range(number)))}: correct its reader"
    shape = tuple(cfg.MODEL.CLASSIFIER.INPUT_SHAPE)
    held = [record for record in records if "image" in record]
    odd = [r for r in held if not isinstance(r["image"], torch.Tensor) or r["image"].dtype != torch.uint8]
    if odd:
        yield (
            f"`image` must be a uint8 tensor (C, H, W), found {_what(odd[0]['image'])} in {len(odd)} of {len(records)} "
            f"records, the first is of {odd[0].get('file_name')}: have its reader give such tensors, of 0 to 255"
        )
        return
    shapes = {tuple(record["image"].shape) for record in held}
    if classes_of(cfg) and not shapes <= {shape}:
        found = ", ".join(map(str, sorted(shapes)))
        yield f"images must have MODEL.CLASSIFIER.INPUT_SHAPE {shape}, found {found}: set it to what they have"


def _what(value: Any) -> str:
    """The type of a value, and its dtype or the value itself."""
    return f"{type(value).__name__} {getattr(value, 'dtype', None) or reprlib.repr(value)}"
