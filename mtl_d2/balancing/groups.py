"""What the update asks of a model, and how it divides a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Gradients
from mtl_d2.balancing.reduction import Reduction
from mtl_d2.tasks.task import Task

Features = dict[str, Tensor]


class MultiTaskModel(Protocol):
    """What the update needs of a model, besides being an ``nn.Module``."""

    tasks: tuple[Task, ...]

    def sample_tasks(self, sample: dict) -> tuple[str, ...]:
        """Names of the model's tasks that supervise ``sample``."""

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, C, H, W) normalized images, padded at the right and the bottom with zeros; N > 0.

        They are padded further where another process has larger ones.
        """

    def shared_features(self, images: Tensor) -> Features:
        """What the heads work on, by name, each (N, ...)."""

    def task_losses(
        self, task: str, features: Features, samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """The terms of one task's loss over ``samples``, by name.

        With no sample it takes part in the collectives and returns nothing. Normalizers go through ``reduction.count``.
        What tasks share beyond features, such as proposals, is constant in an update: the first task that needs it
        prepares it and keeps it in the sample dict, which is the same in all passes of the update, and new in the next.
        """

    def mixes_samples(self) -> bool:
        """Whether a sample's features depend on the other samples of the batch."""

    def synchronizes(self, task: str | None = None) -> bool:
        """Whether passes of the head of ``task``, or of the trunk, wait for those of other processes (SyncBN)."""

    def head_outputs(self, task: str, features: Features) -> list[Tensor]:
        """Tensors that depend on all that the loss of ``task`` depends on, and on nothing else.

        A process without samples of a task that synchronizes takes part with them: ``features`` are then of no sample,
        and the head's layers run in the order in which ``task_losses`` runs them before its first collective.
        """

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """Parameters of the last layer that two tasks share."""


@dataclass
class Group:
    """Samples supervised by the same set of tasks (or all samples, where the trunk mixes them).

    Attributes:
        indices: places of the samples in the batch.
        tasks: names of the tasks that supervise one of them, or that this process takes part in for others' sake.
        features: what the trunk made of them; once ``detach`` has been called without their values.
        leaves: what the heads work on.
        gradients: by task, with respect to the leaves that it used.
    """

    indices: list[int]
    tasks: tuple[str, ...]
    features: Features = field(default_factory=dict)
    leaves: Features = field(default_factory=dict)
    gradients: dict[str, Features] = field(default_factory=dict)

    def detach(self) -> None:
        """Makes a leaf of each feature: what a head does to it stays the head's.

        The values are then the leaves' alone, so that dropping these frees them before the trunk's backward passes.
        """
        self.leaves = {name: f.detach().requires_grad_(f.requires_grad) for name, f in self.features.items()}
        self.features = {name: _WithoutValues.apply(f) for name, f in self.features.items()}


class _WithoutValues(torch.autograd.Function):
    """A tensor that takes no memory, and hands gradients on as the one that it was made of does."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor) -> Tensor:
        return feature.new_zeros(()).expand_as(feature)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def partition(sample_tasks: Sequence[tuple[str, ...]], together: bool, first: int = 0) -> list[Group]:
    """Groups of the samples of a batch; samples without a task are in none, unless all stay together.

    Args:
        sample_tasks: for each sample, the tasks that supervise it.
        together: keep the whole batch in one group.
        first: index of the first of them.
    """
    if together:
        tasks = tuple(dict.fromkeys(t for tasks in sample_tasks for t in tasks))
        return [Group(list(range(first, first + len(sample_tasks))), tasks)] if tasks else []
    groups: dict[tuple[str, ...], Group] = {}
    for index, tasks in enumerate(sample_tasks, first):
        if tasks:
            groups.setdefault(tasks, Group([], tasks)).indices.append(index)
    return list(groups.values())


def backward_to_leaves(
    task: str, loss: Tensor, seed: Tensor, parameters: list[nn.Parameter], groups: list[Group]
) -> Gradients:
    """Gradients of one task's loss times ``seed`` for its head; those for the features go into the groups.

    Args:
        task: its name.
        loss: this process's part of it.
        seed: what its backward pass starts with.
        parameters: of its head.
        groups: parts of the batch, with their leaves.
    """
    leaves = [
        (g, name, leaf) for g in groups if task in g.tasks for name, leaf in g.leaves.items() if leaf.requires_grad
    ]
    found = torch.autograd.grad(loss, [*(leaf for _, _, leaf in leaves), *parameters], seed, allow_unused=True)
    for (group, name, _), gradient in zip(leaves, found, strict=False):
        if gradient is not None:
            group.gradients.setdefault(task, {})[name] = gradient
    return list(found[len(leaves) :])


def backward_to_parameters(task: str, groups: list[Group], parameters: list[nn.Parameter], row: Gradients) -> None:
    """Adds one task's gradient through the trunk to its ``row``; a group's graph is freed after its last task.

    Args:
        task: its name.
        groups: parts of the batch, with gradients for the features.
        parameters: the shared ones.
        row: one entry for each of them, None for one that the task has not reached.
    """
    for group in groups:
        used = group.gradients.pop(task, {})
        if used:
            outputs, pulls = [group.features[name] for name in used], list(used.values())
            more = bool(group.gradients)
            found = torch.autograd.grad(outputs, parameters, pulls, retain_graph=more, allow_unused=True)
            add(row, found)
            if not more:
                group.features, group.leaves = {}, {}


def add(gradients: Gradients, more: Sequence[Tensor | None]) -> None:
    """Adds ``more`` to ``gradients``, in place of the list but not of the tensors, which autograd may have shared."""
    for k, gradient in enumerate(more):
        so_far = gradients[k]
        gradients[k] = gradient if so_far is None else so_far if gradient is None else so_far + gradient
