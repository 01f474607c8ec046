"""Forward passes over this process's share of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_d2.balancing.groups import Features, Group, MultiTaskModel, partition
from mtl_d2.balancing.microbatch import MicroBatch, divide
from mtl_d2.balancing.precision import Precision
from mtl_d2.balancing.reduction import Reduction


class Passes:
    """Runs trunk and heads on one micro-batch at a time, in the precision that is asked for.

    Attributes:
        samples: this process's share of the batch.
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
        self.parts: list[MicroBatch] = []

    @property
    def device(self) -> torch.device:
        """That of the model."""
        assert isinstance(self.model, nn.Module)
        return next(self.model.parameters()).device

    def load(self, samples: list[dict]) -> None:
        """Takes the samples of an update; a collective where there are several micro-batches."""
        self.samples = samples
        sets = [self.model.sample_tasks(sample) for sample in samples]
        self.parts = divide(sets, self.names, self.accumulate, self.reduction, self.device)

    def expected(self) -> Tensor:
        """(T,) bool: the tasks that some process has samples of; known where there are several micro-batches."""
        return torch.tensor([any(part.shares[i] > 0 for part in self.parts) for i in range(len(self.names))])

    def images(self) -> Tensor | None:
        """Of all micro-batches, padded as one batch, since dense heads compute a loss on padding; None without any."""
        return self.model.batch_images(self.samples) if self.samples else None

    def trunk(self, part: MicroBatch, images: Tensor | None, asked: Sequence[str], together: bool) -> list[Group]:
        """The groups of a micro-batch with the features of those samples that a task of ``asked`` supervises."""
        samples = self.samples[part.first : part.first + part.length]
        sets = [tuple(t for t in self.model.sample_tasks(s) if t in asked) for s in samples]
        groups = partition(sets, together, part.first)
        for group in groups:
            assert images is not None
            whole = len(group.indices) == len(self.samples)
            with self.precision.autocast(images.device):
                group.features = self.model.shared_features(images if whole else images[group.indices])
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

    def connected(self, part: MicroBatch, images: Tensor | None, tasks: Sequence[str]) -> list[dict[str, Tensor]]:
        """The terms of ``tasks`` in one graph with the trunk."""
        groups = self.trunk(part, images, self.names, together=True)
        for group in groups:
            group.leaves = group.features
        return [self.head(task, groups) for task in tasks]
