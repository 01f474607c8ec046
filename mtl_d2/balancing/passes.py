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
        self.samples: list[dict] = []
        self.present = torch.zeros(len(self.names), dtype=torch.bool)
        self.parts: list[MicroBatch] = []
        self._images: Tensor | None = None

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
        size = images.shape[-2:] if images is not None and images.dim() == 4 else (0, 0)
        local = counts([self.model.sample_tasks(s) for s in samples], self.names, self.accumulate)
        found = self.reduction.everybodys([*size, *(n for row in local for n in row)])
        height, width, *flat = (own for own in zip(*found, strict=True))
        T, summed = len(self.names), [sum(numbers) for numbers in flat]
        everywhere = [summed[T * k : T * (k + 1)] for k in range(self.accumulate)]
        self.present = torch.tensor(everywhere).sum(0) > 0
        self.parts = divide(len(samples), everywhere)
        if images is not None and tuple(size) != (max(height), max(width)):
            images = F.pad(images, (0, max(width) - size[1], 0, max(height) - size[0]))
        self._images = images

    def trunk(self, part: MicroBatch, asked: Sequence[str], together: bool) -> list[Group]:
        """The groups of a micro-batch with the features of those samples that a task of ``asked`` supervises."""
        samples = self.samples[part.first : part.first + part.length]
        sets = [tuple(t for t in self.model.sample_tasks(s) if t in asked) for s in samples]
        groups = partition(sets, together, part.first)
        for group in groups:
            assert self._images is not None
            images = self._images if len(group.indices) == len(self.samples) else self._images[group.indices]
            with self.precision.autocast(images.device):
                group.features = self.model.shared_features(images)
        return groups

    def head(self, task: str, groups: list[Group]) -> dict[str, Tensor]:
        """The terms of one task's loss on the groups' leaves; empty, but for the collectives, without a sample."""
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
            return self.model.task_losses(task, features, samples, self.reduction)

    def connected(self, part: MicroBatch) -> list[Group]:
        """All samples of a micro-batch together, with heads to run in one graph with the trunk."""
        groups = self.trunk(part, self.names, together=True)
        for group in groups:
            group.leaves = group.features
        return groups


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a task's loss terms, of which there is one at least."""
    return sum(list(terms.values())[1:], next(iter(terms.values())))


def add_terms(terms: dict[str, Tensor], more: dict[str, Tensor], share: float) -> None:
    """Adds a micro-batch's terms, times its ``share``, to those so far, in float64 and without a graph."""
    for name, value in more.items():
        part = value.detach().double() * share
        terms[name] = terms[name] + part if name in terms else part
