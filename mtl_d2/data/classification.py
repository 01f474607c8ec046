"""What is wrong with the labels of tasks that classify a whole image."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode

Number = TypeVar("Number", int, float)


def classes_of(cfg: CfgNode) -> dict[str, int]:
    """Number of classes of each of ``MTL.TASKS``, which all are classifications, from ``MODEL.CLASSIFIER``."""
    tasks = list(cfg.MTL.TASKS)
    return dict(zip(tasks, each(cfg.MODEL.CLASSIFIER.NUM_CLASSES, len(tasks)), strict=True))


def each(numbers: Sequence[Number], count: int) -> list[Number]:
    """A number for each of ``count`` tasks, of which a config gives as many, or one for all."""
    return list(numbers) * count if len(numbers) == 1 else list(numbers)


def wrong_classes(task: str, number: int, names: Sequence[str], records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Class ids that do not fit the config, and classes that do not fit the metadata.

    Args:
        task: its name.
        number: of its classes, by the config.
        names: of its classes, by the metadata; empty where these say nothing.
        records: of a data set.
    """
    labelled = [record for record in records if task in record]
    odd = [record for record in labelled if not isinstance(record[task], Integral)]
    ids = {record[task] for record in labelled} if not odd else set()
    if names and len(names) != number:
        yield (
            f"{task} has {len(names)} classes, but MODEL.CLASSIFIER.NUM_CLASSES says {number}: set it to {len(names)}"
        )
    elif odd:
        yield (
            f"`{task}` must be a whole number in 0..{number - 1}, found {_what(odd[0][task])} in {len(odd)} of "
            f"{len(labelled)} records, the first is of {odd[0].get('file_name')}: have its reader give `int`s"
        )
    elif ids and not ids <= set(range(number)):
        yield f"`{task}` must be in 0..{number - 1}, found {sorted(ids - set(range(number)))}: correct its reader"


def wrong_images(shape: tuple[int, ...], records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Images that records hold and that are none, or of another size.

    Args:
        shape: (C, H, W) that they must have.
        records: of a data set.
    """
    held = [record for record in records if "image" in record]
    odd = [r for r in held if not isinstance(r["image"], torch.Tensor) or r["image"].dtype != torch.uint8]
    if odd:
        yield (
            f"`image` must be a uint8 tensor (C, H, W), found {_what(odd[0]['image'])} in {len(odd)} of {len(records)} "
            f"records, the first is of {odd[0].get('file_name')}: have its reader give such tensors, of 0 to 255"
        )
        return
    shapes = {tuple(record["image"].shape) for record in held}
    if not shapes <= {shape}:
        sizes = ", ".join(map(str, sorted(shapes)))
        yield f"images must have MODEL.CLASSIFIER.INPUT_SHAPE {shape}, found {sizes}: set it to what they have"


def _what(value: Any) -> str:
    """The type of a value, and its dtype or the value itself."""
    return f"{type(value).__name__} {getattr(value, 'dtype', None) or reprlib.repr(value)}"
