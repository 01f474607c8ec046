"""Folders of pseudo labels: whether they are there, and whose labels they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from detectron2.config import CfgNode

from mtl_d2.data.checks.classes import trained_classes
from mtl_d2.data.checks.findings import Findings
from mtl_d2.data.errors import DataError
from mtl_d2.data.pseudo_labelled import labelled_twice
from mtl_d2.pseudo_labels.folder import serves, tasks_in, unusable
from mtl_d2.pseudo_labels.manifest import read_manifest
from mtl_d2.tasks.registry import is_known, kinds_of

Labelled = Mapping[str, set[str]]  # data set -> tasks of the config that it labels


def look_at_folders(cfg: CfgNode, labelled: Labelled, findings: Findings) -> Labelled:
    """Says what is wrong with ``MTL.PSEUDO_LABELS.FOLDERS``.

    Returns:
        ``labelled`` with the tasks that training sets have pseudo labels for.
    """
    try:
        findings.warn(_left_aside(cfg))
        classes = trained_classes(cfg) if cfg.MTL.PSEUDO_LABELS.FOLDERS else {}
        taught: dict[str, set[str]] = {name: set() for name in labelled}
        for name in dict.fromkeys(cfg.DATASETS.TRAIN):
            findings.refuse(labelled_twice(cfg, name), name)
            for folder in cfg.MTL.PSEUDO_LABELS.FOLDERS:
                taught[name] |= set(tasks_in(folder, name, cfg.MTL.TASKS))
                findings.refuse(unusable(folder, name, cfg.MTL.TASKS, classes))
    except DataError as error:
        findings.refuse([f"MTL.PSEUDO_LABELS.FOLDERS: {error}"])
        return labelled
    return {name: tasks | taught[name] for name, tasks in labelled.items()}


def _left_aside(cfg: CfgNode) -> Iterator[str]:
    """Labels that the training does not use."""
    kinds = kinds_of(filter(is_known, cfg.MTL.TASKS))
    for folder in cfg.MTL.PSEUDO_LABELS.FOLDERS:
        manifest = read_manifest(Path(folder))
        for task in manifest:
            if not any(serves(task, kind) for kind in kinds):
                yield f"{folder} has pseudo labels for task {task!r}, which is not in MTL.TASKS: they are left aside"
        if not any(tasks_in(folder, name, cfg.MTL.TASKS) for name in cfg.DATASETS.TRAIN):
            datasets = dict.fromkeys(name for labels in manifest.values() for name in labels.datasets)
            yield (
                f"{folder} has no pseudo labels for a data set of DATASETS.TRAIN, only for {', '.join(datasets)}: "
                "nothing is learnt from it"
            )
