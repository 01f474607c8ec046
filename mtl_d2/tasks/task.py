"""What a model says about its tasks. Imports torch and nothing of detectron2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Task:
    """One task of a multi-task model.

    Attributes:
        name: the task's name in configs, logs and reports, e.g. ``detection``.
        loss_keys: the keys under which the model returns the terms of this task's loss; their sum is L_i.
        head_modules: dotted names of the submodules whose parameters belong to this task alone, unless another task
            names them as well. Whatever belongs to no task, or to two, is shared.
    """

    name: str
    loss_keys: tuple[str, ...]
    head_modules: tuple[str, ...]


def head_parameters(model: nn.Module, task: Task) -> list[nn.Parameter]:
    """Parameters of the head modules of ``task`` that require a gradient, in the order of the model."""
    parameters: dict[int, nn.Parameter] = {}
    for name in task.head_modules:
        for p in model.get_submodule(name).parameters():
            if p.requires_grad:
                parameters[id(p)] = p
    return list(parameters.values())


def divide_parameters(model: nn.Module, tasks: Iterable[Task]) -> tuple[list[nn.Parameter], list[list[nn.Parameter]]]:
    """The shared parameters, and those of each task's head alone, of those that require a gradient.

    Shared is what the heads of two tasks have in common, or what belongs to none.
    """
    reached = [{id(p): p for p in head_parameters(model, task)} for task in tasks]
    owners = Counter(key for by_id in reached for key in by_id)
    heads = [[p for key, p in by_id.items() if owners[key] == 1] for by_id in reached]
    return [p for p in model.parameters() if p.requires_grad and owners[id(p)] != 1], heads


def shared_parameters(model: nn.Module, tasks: Iterable[Task]) -> list[nn.Parameter]:
    """The first part of ``divide_parameters``, in the order of the model."""
    return divide_parameters(model, tasks)[0]
