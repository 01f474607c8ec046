"""A trained network to predict with, and what its ids of classes stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from mtl_d2.data.checks.classes import list_key, trained_classes
from mtl_d2.data.checks.findings import some
from mtl_d2.data.checks.records import read
from mtl_d2.data.errors import DataError
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.trainer import MultiTaskTrainer
from mtl_d2.tasks.base import TaskKind

Classes = dict[str, list[str]]


class _Weights(MultiTaskCheckpointer):
    """Keeps what a file of weights says of its classes."""

    trained: Mapping[str, list[str]] = {}

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        rest = super().load(path, checkpointables)
        self.trained = rest.get("classes", {})
        return rest


def load_trained(cfg: CfgNode, kinds: Sequence[TaskKind]) -> tuple[nn.Module, Classes]:
    """The network with the weights of ``MODEL.WEIGHTS`` in evaluation mode, and the names of the classes of each task.

    Args:
        cfg: of its training.
        kinds: the tasks whose names are asked for.

    Returns:
        the network, and by task the names; none for a kind that has no list of classes in metadata and in the file.

    Raises:
        CheckpointError: the file cannot be read, or is not of this network.
        DataError: nobody says what the ids of a task stand for, or what is said are more or fewer than there are.
    """
    model = MultiTaskTrainer.build_model(cfg)
    weights = _Weights(model)
    try:
        weights.load_to_evaluate(cfg.MODEL.WEIGHTS, resume=False)
    except CheckpointError as error:
        raise CheckpointError(f"--weights {cfg.MODEL.WEIGHTS}: {error}") from error
    named = [kind for kind in kinds if kind.classes_key]
    names = _class_names(cfg, named, weights.trained)
    unknown = [kind for kind in named if not names.get(kind.classes_key)]
    if unknown:
        raise DataError(
            f"nothing says what classes task {unknown[0].task!r} of {cfg.MODEL.WEIGHTS} has: neither the file, nor "
            f"`{unknown[0].classes_key}` in the metadata of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)}: register the "
            "data sets that it was trained on, or others with its list of classes"
        )
    classes = {kind.task: list(map(str, names.get(list_key(kind), ()))) for kind in kinds}
    wrong = list(_wrong_numbers(cfg, named, classes))
    if wrong:
        raise DataError("\n".join(wrong))
    return model.eval(), classes


def _class_names(cfg: CfgNode, kinds: Iterable[TaskKind], stored: Mapping[str, list[str]]) -> Classes:
    names = {**trained_classes(cfg), **stored}
    if all(names.get(kind.classes_key) for kind in kinds):
        return names
    for name in cfg.DATASETS.TRAIN:
        read(name)  # some readers name their classes only when they have read
    return {**trained_classes(cfg), **stored}


def _wrong_numbers(cfg: CfgNode, kinds: Iterable[TaskKind], classes: Mapping[str, list[str]]) -> Iterator[str]:
    for kind in kinds:
        counted, names = kind.number_of_classes(cfg), classes[kind.task]
        if counted and counted[1] != len(names):
            yield (
                f"{counted[0]} is {counted[1]}, but the network's `{kind.classes_key}` are {len(names)}, "
                f"{some(names)}: register the data sets of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} with the list "
                "that it was trained with"
            )
