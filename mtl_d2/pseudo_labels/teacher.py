"""What a network must be for its predictions to become labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from detectron2.config import CfgNode

from mtl_d2.config import ConfigError
from mtl_d2.data.checks.classes import class_difference
from mtl_d2.pseudo_labels.folder import form_of
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import all_kinds, kinds_of

WITHOUT_EFFECT = ("DEVICE", "WEIGHTS")  # keys of MODEL that the settings do not count


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
