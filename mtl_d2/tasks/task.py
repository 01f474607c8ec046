"""What a model says about its tasks. Imports torch and nothing of detectron2."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Task:
    """One task of a multi-task model.

    Attributes:
        name: the task's name in configs, logs and reports, e.g. ``detection``.
        loss_keys: the keys under which the model returns the terms of this task's loss; their sum is L_i.
        head_modules: dotted names of the submodules whose parameters belong to this task alone. Whatever belongs to
            no task is shared.
    """

    name: str
    loss_keys: tuple[str, ...]
    head_modules: tuple[str, ...]


def head_parameters(model: nn.Module, task: Task) -> list[nn.Parameter]:
    """Parameters that belong to ``task`` alone and require a gradient, in the order of the model."""
    found: dict[int, nn.Parameter] = {}
    for name in task.head_modules:
        for p in model.get_submodule(name).parameters():
            if p.requires_grad:
                found[id(p)] = p
    return list(found.values())


def shared_parameters(model: nn.Module, tasks: Iterable[Task]) -> list[nn.Parameter]:
    """Parameters that require a gradient and belong to no task's head, in the order of the model."""
    own = {id(p) for task in tasks for p in head_parameters(model, task)}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in own]
