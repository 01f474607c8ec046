"""What one pass over a batch finds out about the tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mtl_d2.balancing.base import Gradients
from mtl_d2.balancing.coordinates import combined_gramian, coordinates
from mtl_d2.balancing.groups import Group
from mtl_d2.balancing.reduction import Exchange
from mtl_d2.tasks.task import Task


@dataclass
class TaskGradients:
    """Losses and gradients of the tasks at one point, of the global batch.

    Attributes:
        terms: each present task's loss terms by name; empty until they are read.
        losses: (T,) float64 on the CPU, L_i; 0 where absent or not asked for, and until they are read.
        present: (T,) bool on the CPU.
        rows: T lists, the gradient of L_i for each shared parameter or None; empty where no rows were asked for.
        heads: T lists, the gradient of L_i for each parameter of head i.
        groups: the parts of the batch, where the trunk's backward pass is still to come.
        exchange: knows what the rows are parts of.
        features: (T, T) this process's part of the Gramian of the features, where it was asked for.
        start_losses: (T,) the same at the parameters that the update starts from, where the gradients are of others.
        unread: waits for what ``take_losses`` takes, on the model's device.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    rows: list[Gradients]
    heads: list[Gradients]
    groups: list[Group] = field(default_factory=list)
    exchange: Exchange = field(default_factory=Exchange)
    features: Tensor | None = None
    start_losses: Tensor | None = None
    unread: Callable[[], Tensor] | None = None

    def rows_at(self, level: str, last_layer: Sequence[int]) -> list[Gradients]:
        """The rows of "all" shared parameters, or of those at ``last_layer``; empty where there are none at a level."""
        if level == "last_layer":
            return [[row[k] for k in last_layer] for row in self.rows]
        return self.rows if level == "all" else []

    def coordinates(self, gramian: Tensor, level: str, last_layer: Sequence[int]) -> Tensor:
        """(T, r) ``coordinates`` of the rows at a level, whose (T, T) Gramian has been read; see there."""
        rows = self.rows_at(level, last_layer)

        def look(factors: Tensor) -> Tensor:
            return self.exchange.total(combined_gramian(rows, factors)).cpu()

        return coordinates(gramian, look if rows else None)

    def take_losses(self, tasks: Sequence[Task], values: list[float]) -> list[int]:
        """Fills in ``losses`` and ``terms``.

        Args:
            tasks: all T.
            values: the loss terms of all their loss keys; then for each process whether one of its own is not finite.

        Returns:
            Those processes.
        """
        keys = [key for task in tasks for key in task.loss_keys]
        named = dict(zip(keys, values, strict=False))
        sums = [sum(named[key] for key in task.loss_keys) for task in tasks]
        here = [task for task, there in zip(tasks, self.present.tolist(), strict=True) if there]
        self.losses.copy_(torch.tensor(sums, dtype=torch.float64))
        self.terms.update({key: named[key] for task in here for key in task.loss_keys})
        self.unread = None
        return [rank for rank, broken in enumerate(values[len(keys) :]) if broken]
