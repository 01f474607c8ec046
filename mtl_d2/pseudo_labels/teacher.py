"""The network whose predictions become labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from mtl_d2.config import ConfigError
from mtl_d2.data.checks.classes import class_difference, trained_classes
from mtl_d2.data.checks.findings import some
from mtl_d2.data.checks.records import read
from mtl_d2.data.errors import DataError
from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.trainer import MultiTaskTrainer
from mtl_d2.pseudo_labels.folder import form_of
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


def too_many_classes(cfg: CfgNode, kinds: Iterable[TaskKind]) -> Iterator[str]:
    """A line for each task whose form of labels cannot tell all its classes."""
    for kind in kinds:
        counted, most = kind.number_of_classes(cfg), form_of(kind).most_classes
        if counted and most is not None and counted[1] > most:
            yield (
                f"{counted[0]} is {counted[1]}, but pseudo labels of task {kind.task!r} can tell at most {most} "
                "classes: take a teacher of fewer"
            )


def settings_digest(cfg: CfgNode) -> str:
    """The same for configs that make the same predictions of the same weights."""
    model = {key: value for key, value in cfg.MODEL.items() if key not in WITHOUT_EFFECT}
    parts = (CfgNode(model), cfg.INPUT, cfg.TEST, cfg.MTL.TASK_OPTIONS)
    return sha256("".join(part.dump() for part in parts).encode()).hexdigest()


def load_teacher(cfg: CfgNode, kinds: Sequence[TaskKind]) -> tuple[nn.Module, dict[str, list[str]]]:
    """The network with the weights of ``MODEL.WEIGHTS``, and the names of the classes of each task.

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
    names = _class_names(cfg, kinds, weights.trained)
    unknown = [kind for kind in kinds if not names.get(kind.classes_key)]
    if unknown:
        raise DataError(
            f"nothing says what classes task {unknown[0].task!r} of {cfg.MODEL.WEIGHTS} has: neither the file, nor "
            f"`{unknown[0].classes_key}` in the metadata of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)}: register the "
            "data sets that it was trained on, or others with its list of classes"
        )
    classes = {kind.task: list(map(str, names[kind.classes_key])) for kind in kinds}
    wrong = list(_wrong_numbers(cfg, kinds, classes))
    if wrong:
        raise DataError("\n".join(wrong))
    return model.eval(), classes


def _class_names(cfg: CfgNode, kinds: Iterable[TaskKind], stored: Mapping[str, list[str]]) -> dict[str, list[str]]:
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
                f"{counted[0]} is {counted[1]}, but the teacher's `{kind.classes_key}` are {len(names)}, "
                f"{some(names)}: register the data sets of DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} with the list "
                "that it was trained with"
            )


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
