"""Forward passes over this process's share of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.balancing.groups import Features, Group, MultiTaskModel, partition
from mtl_d2.balancing.microbatch import MicroBatch, counts, divide
from mtl_d2.balancing.precision import Precision
from mtl_d2.balancing.reduction import Reduction


class Passes:
    """Runs trunk and heads on one micro-batch at a time, in the precision that is asked for.

    Attributes:
        samples: this process's share of the batch.
        present: (T,) bool, the tasks that some process has samples of.
        parts: its micro-batches, as many as on every other process.
    """

    def __init__(self, model: MultiTaskModel, reduction: Reduction, precision: Precision, accumulate: int) -> None:
        """Args are those of ``Oracle``."""
        self.model = model
        self.reduction = reduction
        self.precision = precision
        self.accumulate = accumulate
        self.names = tuple(task.name for task in model.tasks)
        self._keys = {task.name: task.loss_keys[0] for task in model.tasks}
        self.samples: list[dict] = []
        self.present = torch.zeros(len(self.names), dtype=torch.bool)
        self.parts: list[MicroBatch] = []
        self._images = torch.empty(0)

    @property
    def device(self) -> torch.device:
        """That of the model."""
        assert isinstance(self.model, nn.Module)
        return next(self.model.parameters()).device

    def load(self, samples: list[dict]) -> None:
        """Takes the samples of an update. What processes have to agree on is one message, on the host.

        Images of all micro-batches are padded as one batch of all processes: dense heads compute a loss on padding.
        """
        self.samples = [{**sample} for sample in samples]  # a model may keep in them what belongs to this update
        images = self.model.batch_images(samples) if samples else None
        shape = images.shape[1:] if images is not None and images.dim() == 4 else (0, 0, 0)
        local = counts([self.model.sample_tasks(s) for s in samples], self.names, self.accumulate)
        found = self.reduction.everybodys([*shape, *(n for row in local for n in row)])
        channels, height, width, *flat = (own for own in zip(*found, strict=True))
        T, summed = len(self.names), [sum(numbers) for numbers in flat]
        everywhere = [summed[T * k : T * (k + 1)] for k in range(self.accumulate)]
        self.present = torch.tensor(everywhere).sum(0) > 0
        self.parts = divide(len(samples), everywhere)
        if images is not None and tuple(shape[1:]) != (max(height), max(width)):
            images = F.pad(images, (0, max(width) - shape[2], 0, max(height) - shape[1]))
        self._images = self._no_images(max(channels), max(height), max(width)) if images is None else images

    def _no_images(self, *shape: int) -> Tensor:
        assert isinstance(self.model, nn.Module)
        return next(self.model.parameters()).new_empty(0, *shape)

    def trunk(self, part: MicroBatch, asked: Sequence[str], together: bool) -> list[Group]:
        """The groups of a micro-batch with the features of those samples that a task of ``asked`` supervises.

        Where other processes wait for the passes of a task that this one has no sample of, a group has that task too.
        """
        samples = self.samples[part.first : part.first + part.length]
        sets = [tuple(t for t in self.model.sample_tasks(s) if t in asked) for s in samples]
        groups = partition(sets, together, part.first)
        self._join(groups, part, asked)
        for group in groups:
            images = self._images if len(group.indices) == len(self.samples) else self._images[group.indices]
            with self.precision.autocast(images.device):
                group.features = self.model.shared_features(images)
        return groups

    def _join(self, groups: list[Group], part: MicroBatch, asked: Sequence[str]) -> None:
        """Gives a group the tasks that this process has no sample of, but has to take part in for others' sake."""
        if self.reduction.world_size == 1:
            return
        mixed = self.model.synchronizes()
        here = {task for group in groups for task in group.tasks}
        for task, share in zip(self.names, part.shares, strict=True):
            if task not in asked or task in here or share == 0 or not (mixed or self.model.synchronizes(task)):
                continue
            if not groups:
                groups.append(Group(list(range(part.first, part.first + part.length)) if mixed else [], ()))
            groups[0].tasks += (task,)

    def head(self, task: str, groups: list[Group]) -> dict[str, Tensor]:
        """The terms of one task's loss on the groups' leaves; empty, but for the collectives, without a sample.

        Where other processes wait for this one, there is a 0 then that depends on all that the loss would depend on.
        """
        parts: list[Features] = []
        samples: list[dict] = []
        for group in groups:
            chosen = [k for k, i in enumerate(group.indices) if task in self.model.sample_tasks(self.samples[i])]
            if chosen and task in group.tasks:
                whole = len(chosen) == len(group.indices)
                parts.append(group.leaves if whole else {n: f[chosen] for n, f in group.leaves.items()})
                samples += [self.samples[group.indices[k]] for k in chosen]
        features = parts[0] if len(parts) == 1 else {n: torch.cat([p[n] for p in parts]) for n in (parts or [{}])[0]}
        with self.precision.autocast(self.device):
            waiting = [g.leaves for g in groups if task in g.tasks] if not samples else []
            outputs = self.model.head_outputs(task, {n: f[:0] for n, f in waiting[0].items()}) if waiting else []
            terms = self.model.task_losses(task, features, samples, self.reduction)
        return {self._keys[task]: nothing_of(outputs)} if outputs else terms

    def connected(self, part: MicroBatch) -> list[Group]:
        """All samples of a micro-batch together, with heads to run in one graph with the trunk."""
        groups = self.trunk(part, self.names, together=True)
        for group in groups:
            group.leaves = group.features
        return groups


def nothing_of(outputs: Sequence[Tensor]) -> Tensor:
    """A 0 whose backward pass goes through all ``outputs``, with gradients of 0, whatever their values are."""
    return torch.stack([x.flatten()[:0].sum(dtype=torch.float64) for x in outputs]).sum()


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a task's loss terms, of which there is one at least."""
    return sum(list(terms.values())[1:], next(iter(terms.values())))


def add_terms(terms: dict[str, Tensor], more: dict[str, Tensor], share: float) -> None:
    """Adds a micro-batch's terms, times its ``share``, to those so far, in float64 and without a graph."""
    for name, value in more.items():
        part = value.detach().double() * share
        terms[name] = terms[name] + part if name in terms else part
