"""The network whose predictions become labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from mtl_d2.config import ConfigError
from mtl_d2.data.checks.classes import class_difference, trained_classes
from mtl_d2.data.errors import DataError
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.trainer import MultiTaskTrainer
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import all_kinds, kinds_of

WITHOUT_EFFECT = ("DEVICE", "WEIGHTS")  # keys of MODEL that the settings do not count


class _Weights(MultiTaskCheckpointer):
    """Keeps what a file of weights says of its classes."""

    trained: Mapping[str, list[str]] = {}

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        rest = super().load(path, checkpointables)
        self.trained = rest.get("classes", {})
        return rest


def labelled_kinds(tasks: Iterable[str]) -> list[TaskKind]:
    """The tasks whose predictions become labels, one of those that share a prediction.

    Raises:
        ConfigError: the kind of one of them has no pseudo labels.
    """
    kinds = kinds_of(tasks)
    without = [kind.task for kind in kinds if kind.pseudo_labels() is None]
    if without:
        known = [kind.name for kind in all_kinds() if kind.pseudo_labels is not TaskKind.pseudo_labels]
        raise ConfigError(
            f"MTL.TASKS has {', '.join(map(repr, without))}, of which there are no pseudo labels: leave out of "
            f"MTL.TASKS what is none of {', '.join(known)}"
        )
    return first_of_each(kinds)


def settings_digest(cfg: CfgNode) -> str:
    """The same for configs that make the same predictions of the same weights."""
    model = {key: value for key, value in cfg.MODEL.items() if key not in WITHOUT_EFFECT}
    parts = (CfgNode(model), cfg.INPUT, cfg.TEST, cfg.MTL.TASK_OPTIONS)
    return sha256("".join(part.dump() for part in parts).encode()).hexdigest()


def load_teacher(cfg: CfgNode, kinds: Iterable[TaskKind]) -> tuple[nn.Module, dict[str, list[str]]]:
    """The network with the weights of ``MODEL.WEIGHTS``, and the names of the classes of each task.

    Raises:
        CheckpointError: the file cannot be read, or is not of this network.
        DataError: nobody says what the ids of a task stand for.
    """
    model = MultiTaskTrainer.build_model(cfg)
    weights = _Weights(model)
    try:
        weights.load_to_evaluate(cfg.MODEL.WEIGHTS, resume=False)
    except CheckpointError as error:
        raise CheckpointError(f"--weights {cfg.MODEL.WEIGHTS}: {error}") from error
    names = {**trained_classes(cfg), **weights.trained}
    unknown = [kind for kind in kinds if not names.get(kind.classes_key)]
    if unknown:
        raise DataError(
            f"nothing says what classes task {unknown[0].task!r} of {cfg.MODEL.WEIGHTS} has: neither the file, nor "
            f"`{unknown[0].classes_key}` in the metadata of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)}: register them"
        )
    return model.eval(), {kind.task: list(map(str, names[kind.classes_key])) for kind in kinds}


def wrong_classes(
    kinds: Iterable[TaskKind], classes: Mapping[str, list[str]], datasets: Iterable[str]
) -> Iterator[str]:
    """A line for each data set whose own classes are not the teacher's.

    Args:
        kinds: tasks of the teacher.
        classes: names by task.
        datasets: that are to be labelled; those that name no classes of a task are not labelled for it.
    """
    for kind in kinds:
        for name in datasets:
            difference = class_difference(classes[kind.task], list(map(str, kind.class_names(name))))
            if difference:
                yield (
                    f"{name}: its `{kind.classes_key}` are not those of the teacher of task {kind.task!r}, "
                    f"{difference}: take a teacher that was trained with the list of this data set"
                )
