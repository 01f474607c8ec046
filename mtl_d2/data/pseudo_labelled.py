"""Training records with the pseudo labels of the folders that a config names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from detectron2.config import CfgNode

from mtl_d2.data.checks.classes import trained_classes
from mtl_d2.data.errors import DataError
from mtl_d2.data.once import inform, warn_once
from mtl_d2.pseudo_labels.folder import attach, digest, tasks_in
from mtl_d2.tasks.base import Record, TaskKind
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import PSEUDO, unprefixed

logger = logging.getLogger(__name__)


def with_pseudo_labels(cfg: CfgNode, name: str, records: Sequence[Record]) -> list[Record]:
    """Records of one training set with the labels of ``MTL.PSEUDO_LABELS.FOLDERS``; those given where there are none.

    How many images have labels of each source is logged, for each task.

    Raises:
        DataError: two folders label the set for the same task, or a folder's labels cannot be used.
    """
    folders = cfg.MTL.PSEUDO_LABELS.FOLDERS
    records, twice = list(records), list(labelled_twice(cfg, name))
    if twice:
        raise DataError(f"{name}: {'; '.join(twice)}")
    classes = trained_classes(cfg) if folders else {}
    for folder in folders:
        records = attach(records, name, folder, cfg.MTL.TASKS, classes)
    for kind in kinds_of(cfg.MTL.TASKS) if folders else ():
        inform(logger, f"{name}, {counted(kind, records)}")
    for line in _without_labels(cfg, name, records) if folders else ():
        warn_once(logger, line)
    return records


def _without_labels(cfg: CfgNode, name: str, records: Sequence[Record]) -> Iterator[str]:
    """A line for images that neither the ground truth nor a teacher has labelled."""
    kinds = kinds_of(cfg.MTL.TASKS)
    without = [
        record["file_name"]
        for record in records
        if not any(kind.is_in_record(labels) for labels in (record, unprefixed(record, PSEUDO)) for kind in kinds)
    ]
    if without:
        yield (
            f"{name}: {len(without)} of {len(records)} images have no label at all, the first is {without[0]}: nothing "
            "is learnt from them; label them, or take them out of the data set"
        )


def labelled_twice(cfg: CfgNode, name: str) -> Iterator[str]:
    """A line for each task that two folders label a data set for."""
    given = {folder: tasks_in(folder, name, cfg.MTL.TASKS) for folder in cfg.MTL.PSEUDO_LABELS.FOLDERS}
    for (first, tasks), (second, others) in combinations(given.items(), 2):
        for task in tasks:
            if task in others:
                yield (
                    f"{first} and {second} of MTL.PSEUDO_LABELS.FOLDERS both have pseudo labels for task {task!r}: "
                    "name one of them"
                )


def counted(kind: TaskKind, records: Sequence[Record]) -> str:
    """How many images have ground truth of a task, pseudo labels, and neither, in words."""
    true = [kind.is_in_record(record) for record in records]
    taught = [kind.is_in_record(unprefixed(record, PSEUDO)) for record in records]
    neither = sum(not a and not b for a, b in zip(true, taught, strict=True))
    return f"{kind.task}: {sum(true)} images have ground truth, {sum(taught)} pseudo labels, {neither} neither"


def folder_digests(cfg: CfgNode) -> list[str]:
    """Of what each folder has for this training, for the checkpoint; "" of one that is not there any more."""
    return [_digest(cfg, folder) for folder in cfg.MTL.PSEUDO_LABELS.FOLDERS]


def _digest(cfg: CfgNode, folder: str) -> str:
    try:
        return digest(folder, cfg.DATASETS.TRAIN, cfg.MTL.TASKS)
    except (DataError, OSError):  # a run that has read all labels goes on without the folder
        return ""


def changed_folders(cfg: CfgNode, stored: Sequence[str]) -> list[str]:
    """A line for each folder that is not what it was, where ``stored`` are ``folder_digests`` of then."""
    pairs = zip(cfg.MTL.PSEUDO_LABELS.FOLDERS, folder_digests(cfg), stored, strict=False)
    return [
        f"{folder}: its pseudo labels are not those of the run that stopped: restore them"
        for folder, now, before in pairs
        if before and now != before
    ]


def has_content(record: Any, keys: set[str]) -> bool:
    """Whether there is something to learn from a record besides that it shows no object.

    Args:
        record: with labels of any source.
        keys: of records, that are labels of the tasks.
    """
    sources = (record, unprefixed(record, PSEUDO))
    if "annotations" not in record or any(key in labels for labels in sources for key in keys - {"annotations"}):
        return True
    return any(not a.get("iscrowd", 0) for labels in sources for a in labels.get("annotations", ()))
