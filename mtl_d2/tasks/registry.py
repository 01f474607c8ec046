"""The kinds of tasks by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from fvcore.common.registry import Registry

from mtl_d2.tasks.base import TaskKind

KINDS = Registry("TASK_KINDS")


def task_kind(kind: type[TaskKind]) -> type[TaskKind]:
    """A class decorator that registers a kind of task; a file of ``MTL.DATA.MODULES`` may use it.

    Raises:
        ValueError: its tasks could not be named.
        TypeError: it lacks what every kind needs.
    """
    if not kind.name.isidentifier():
        raise ValueError(f"{kind.__name__}.name must be of letters, digits and '_', got {kind.name!r}")
    needed = ("tools", "truth", *(("build_head",) if kind.builds_layers() else ()))
    missing = [method for method in needed if getattr(kind, method) is getattr(TaskKind, method)]
    if missing:
        raise TypeError(f"{kind.__name__} must have {' and '.join(missing)}, see docs/adding_a_task.md")
    KINDS._do_register(kind.name, kind)
    return kind


@cache
def load_kinds() -> None:
    """Imports every file of this package, which registers what they define."""
    package = importlib.import_module("mtl_d2.tasks")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def all_kinds() -> tuple[type[TaskKind], ...]:
    """In the order in which they were registered."""
    load_kinds()
    return tuple(kind for _, kind in KINDS)


def names() -> tuple[str, ...]:
    """What the tasks of all kinds are called, in the order in which the kinds were registered."""
    return tuple(kind.pattern() for kind in all_kinds())


def is_known(task: object) -> bool:
    """Whether a kind has tasks of this name."""
    return isinstance(task, str) and any(kind.is_name(task) for kind in all_kinds())


def kind_of(task: str) -> TaskKind:
    """The task of this name.

    Raises:
        KeyError: no kind has tasks of this name.
    """
    for kind in all_kinds():
        if kind.is_name(task):
            return kind(task)
    raise KeyError(f"no kind of task has tasks named {task!r}; there are {', '.join(names())}")


def kinds_of(tasks: Iterable[str]) -> tuple[TaskKind, ...]:
    """The tasks of these names."""
    return tuple(map(kind_of, tasks))


def kind_of_group(group: str) -> type[TaskKind] | None:
    """The kind of the tasks whose metrics are in ``group``; None if there is none."""
    kinds = (kind for kind in all_kinds() if group == kind.group or group.startswith(f"{kind.group}_"))
    return next(kinds, None)


def label_files(tasks: Iterable[str]) -> tuple[str, ...]:
    """The keys of records that name the files which these tasks read."""
    return tuple(key for kind in kinds_of(tasks) for key in kind.file_keys)
