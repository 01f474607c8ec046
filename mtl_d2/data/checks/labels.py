"""Which tasks the data sets label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode

from mtl_d2.tasks import LABELS

Labelled = Mapping[str, set[str]]  # data set -> tasks of the config that it labels


def unlabelled(cfg: CfgNode, labelled: Labelled) -> Iterator[str]:
    """Tasks that no training set labels, and training sets that label no task."""
    train = list(dict.fromkeys(cfg.DATASETS.TRAIN))
    for task in cfg.MTL.TASKS:
        if not any(task in labelled[name] for name in train):
            label = LABELS[task]
            key = f"`{label.record_key}`" + (f" with `{label.annotation_key}`" if label.annotation_key else "")
            yield (
                f"MTL.TASKS has {task!r}, but no data set of DATASETS.TRAIN ({', '.join(train)}) labels it: none of "
                f"their records has {key}: add one that has, or take {task!r} out of MTL.TASKS"
            )
    for name in train:
        if not labelled[name]:
            yield (
                f"{name} has no label for any of MTL.TASKS {tuple(cfg.MTL.TASKS)}: take it out of DATASETS.TRAIN, "
                "or add its task"
            )


def without_objects(cfg: CfgNode, labelled: Labelled, objects: Mapping[str, int]) -> Iterator[str]:
    """One data set may be all background, but not all of them together."""
    names = [name for name in dict.fromkeys(cfg.DATASETS.TRAIN) if "detection" in labelled[name]]
    if names and not sum(objects[name] for name in names):
        yield (
            f"{', '.join(names)}: no image shows an object to detect: the annotation file may be of other images, or "
            "all its boxes were dropped or are marked as crowd; correct it"
        )
