"""Which tasks the data sets label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode

from mtl_d2.tasks.registry import kinds_of

Labelled = Mapping[str, set[str]]  # data set -> tasks of the config that it labels


def unlabelled(cfg: CfgNode, labelled: Labelled) -> Iterator[str]:
    """Tasks that no training set labels, and training sets that label no task."""
    train = list(dict.fromkeys(cfg.DATASETS.TRAIN))
    for kind in kinds_of(cfg.MTL.TASKS):
        if not any(kind.task in labelled[name] for name in train):
            yield (
                f"MTL.TASKS has {kind.task!r}, but no data set of DATASETS.TRAIN ({', '.join(train)}) labels it: none "
                f"of their records has {kind.where()}: add one that has, or take {kind.task!r} out of MTL.TASKS"
            )
    for name in train:
        if not labelled[name]:
            yield (
                f"{name} has no label for any of MTL.TASKS {tuple(cfg.MTL.TASKS)}: take it out of DATASETS.TRAIN, "
                "or add its task"
            )
