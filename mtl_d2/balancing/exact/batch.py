"""How a batch crosses the network: in micro-batches, each divided by what tasks supervise a sample; forward passes.

A batch is divided twice. Its K micro-batches are in memory one after the other. The samples of a micro-batch that the
same tasks supervise are a group, which crosses the trunk together; a head runs on its own samples of all groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, combinations, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.balancing.interfaces import Features, MultiTaskModel
from mtl_d2.parallel.reduction import Reduction


@dataclass(frozen=True)
class MicroBatch:
    """Samples that are in memory together.

    The loss of task i over the whole batch is sum_s w_s sum_k n_iks / n_is L_iks over the sources s of its labels, with
    w_s the weight of the source, n_iks the samples that have a label from it in micro-batch k of all processes, n_is in
    all of them, and L_iks the loss there. Where a loss is a mean over samples this is the mean over the batch; where it
    is divided by something that is counted in a micro-batch (positives, pixels), or where batch norm takes statistics
    from it, it is what K smaller batches give. A source that labels no sample adds nothing, and the others nothing in
    its place.

    Attributes:
        first: place of its first sample in this process's share of the batch.
        length: number of its samples, 0 or more.
        shares: n_iks / n_is of each task and each source, in [0, 1]; 0 where no process has such a sample in it.
    """

    first: int
    length: int
    shares: tuple[tuple[float, ...], ...]


def bounds(length: int, count: int) -> list[tuple[int, int]]:
    """(first, end) of ``count`` stretches of ``length`` samples, in their order, as equal as can be."""
    return list(pairwise(length * k // count for k in range(count + 1)))


def counts(labelled: Sequence[Sequence[bool]], count: int) -> list[list[int]]:
    """(K, C) labelled samples in each of this process's micro-batches.

    Args:
        labelled: C times, of a task and a source of its labels: whether each of this process's samples has one.
        count: K >= 1.
    """
    return [[sum(column[first:end]) for column in labelled] for first, end in bounds(len(labelled[0]), count)]


def pairs(sample_tasks: Sequence[tuple[str, ...]], names: Sequence[str]) -> list[int]:
    """(T (T - 1) / 2,) how many of this process's samples each pair of tasks supervises, in their order.

    Args:
        sample_tasks: for each sample, the tasks that supervise it.
        names: the T tasks.
    """
    sets = Counter(sample_tasks)
    return [sum(n for tasks, n in sets.items() if a in tasks and b in tasks) for a, b in combinations(names, 2)]


def divide_batch(length: int, everywhere: Sequence[Sequence[int]], sources: Sequence[int]) -> list[MicroBatch]:
    """As many micro-batches on every process.

    Args:
        length: number of this process's samples.
        everywhere: (K, C) ``counts``, summed over processes.
        sources: how many each of the T tasks has; C in all.
    """
    whole = [max(sum(column), 1) for column in zip(*everywhere, strict=True)]
    shares = [[n / total for n, total in zip(row, whole, strict=True)] for row in everywhere]
    ends = list(pairwise([0, *accumulate(sources)]))
    return [
        MicroBatch(first, end - first, tuple(tuple(row[a:b]) for a, b in ends))
        for (first, end), row in zip(bounds(length, len(everywhere)), shares, strict=True)
    ]


@dataclass
class Group:
    """Samples supervised by the same set of tasks (or all samples, where the trunk mixes them).

    Attributes:
        indices: places of the samples in the batch.
        tasks: names of the tasks that supervise one of them, or that this process takes part in for others' sake.
        features: what the trunk made of them; once ``detach`` has been called without their values.
        leaves: what the heads work on.
        gradients: by task, with respect to the leaves that it used.
        seeds: of the next backward pass through the trunk, by feature; taken out of it where they are used.
    """

    indices: list[int]
    tasks: tuple[str, ...]
    features: Features = field(default_factory=dict)
    leaves: Features = field(default_factory=dict)
    gradients: dict[str, Features] = field(default_factory=dict)
    seeds: Features = field(default_factory=dict)

    def detach(self) -> None:
        """Makes a leaf of each feature: what a head does to it stays the head's.

        The values are then the leaves' alone, so that dropping these frees them before the trunk's backward passes.
        """
        self.leaves = {name: f.detach().requires_grad_(f.requires_grad) for name, f in self.features.items()}
        self.features = {name: _WithoutValues.apply(f, self.seeds, name) for name, f in self.features.items()}

    def pull(self, gradients: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Features, and what ``autograd.grad`` takes in the place of their ``gradients``, so that it can free these.

        Args:
            gradients: by feature; empty afterwards.
        """
        names = list(gradients)
        while gradients:
            self.seeds.update([gradients.popitem()])
        outputs = [self.features[name] for name in names]
        return outputs, [output.new_zeros(()).expand_as(output) for output in outputs]


class _WithoutValues(torch.autograd.Function):
    """A tensor that takes no memory, and hands gradients on as the one that it was made of does.

    A gradient in ``seeds`` takes the place of that which comes: ``autograd.grad`` would keep it for the whole pass.
    """

    @staticmethod
    def forward(ctx: Any, feature: Tensor, seeds: Features, name: str) -> Tensor:
        ctx.seeds, ctx.name = seeds, name
        return feature.new_zeros(()).expand_as(feature)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.seeds.pop(ctx.name, gradient), None, None


def partition(sample_tasks: Sequence[tuple[str, ...]], together: bool, first: int = 0) -> list[Group]:
    """Groups of the samples of a batch; samples without a task are in none, unless all stay together.

    Args:
        sample_tasks: for each sample, the tasks that supervise it.
        together: keep the whole batch in one group.
        first: index of the first of them.
    """
    if together:
        tasks = tuple(dict.fromkeys(t for tasks in dict.fromkeys(sample_tasks) for t in tasks))
        return [Group(list(range(first, first + len(sample_tasks))), tasks)] if tasks else []
    groups: dict[tuple[str, ...], Group] = {}
    for index, tasks in enumerate(sample_tasks, first):
        if tasks:
            groups.setdefault(tasks, Group([], tasks)).indices.append(index)
    return list(groups.values())


class Batch:
    """This process's share of a batch, and the forward passes of trunk and heads over one micro-batch of it at a time.

    Attributes:
        samples: this process's share.
        sets: of each of them, the tasks that supervise it.
        present: (T,) bool, the tasks that some process has samples of.
        length: number of samples of all processes.
        pairs: ``pairs`` of them.
        parts: its micro-batches, as many as on every other process.
    """

    def __init__(self, model: MultiTaskModel, reduction: Reduction, precision: Precision, accumulate: int) -> None:
        """Holds no samples yet; args are those of ``Oracle``."""
        self.model = model
        self.reduction = reduction
        self.precision = precision
        self.accumulate = accumulate
        self.names = tuple(task.name for task in model.tasks)
        self._keys = {task.name: task.loss_keys[0] for task in model.tasks}
        self.samples: list[dict] = []
        self.sets: list[tuple[str, ...]] = []
        self.present = torch.zeros(len(self.names), dtype=torch.bool)
        self.length = 0
        self.pairs: list[int] = []
        self.parts: list[MicroBatch] = []
        self._images = torch.empty(0)

    @cached_property
    def _parameter(self) -> nn.Parameter:
        """One of the model's, as good as any other: for type and device."""
        assert isinstance(self.model, nn.Module)
        return next(self.model.parameters())

    @property
    def device(self) -> torch.device:
        """That of the model."""
        return self._parameter.device

    def load(self, samples: list[dict]) -> None:
        """Takes the samples of an update. What processes have to agree on is one message, on the host.

        Images of all micro-batches are padded as one batch of all processes: dense heads compute a loss on padding.
        """
        self.samples = [{**sample} for sample in samples]  # a model may keep in them what belongs to this update
        images = self.model.batch_images(samples) if samples else None
        shape = images.shape[1:] if images is not None and images.dim() == 4 else (0, 0, 0)
        self.sets = [self.model.sample_tasks(sample) for sample in samples]
        sources = [len(task.sources) for task in self.model.tasks]
        C, local = sum(sources), [n for row in counts(self._labelled(), self.accumulate) for n in row]
        of_all = self.reduction.numbers_of_all([*shape, *local, len(samples), *pairs(self.sets, self.names)])
        channels, height, width, *flat = (column for column in zip(*of_all, strict=True))
        summed = [sum(numbers) for numbers in flat]
        self.length, *self.pairs = summed[len(local) :]
        everywhere = [summed[C * k : C * (k + 1)] for k in range(self.accumulate)]
        self.parts = divide_batch(len(samples), everywhere, sources)
        self.present = torch.tensor([any(any(part.shares[i]) for part in self.parts) for i in range(len(sources))])
        if images is not None and tuple(shape[1:]) != (max(height), max(width)):
            images = F.pad(images, (0, max(width) - shape[2], 0, max(height) - shape[1]))
        no_images = max(channels), max(height), max(width)
        self._images = self._parameter.new_empty(0, *no_images) if images is None else images

    def _labelled(self) -> list[list[bool]]:
        """For each task and each source of its labels, whether labels from it supervise each sample."""
        columns = []
        for task in self.model.tasks:
            supervised = [task.name in tasks for tasks in self.sets]
            if len(task.sources) == 1:
                columns.append(supervised)
                continue
            answers = [self.model.sample_sources(sample, task.name) for sample in self.samples]
            for k in range(len(task.sources)):
                columns.append([here and from_[k] for here, from_ in zip(supervised, answers, strict=True)])
        return columns

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = self.precision.dtype
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def trunk(self, part: MicroBatch, asked: Sequence[str], together: bool) -> list[Group]:
        """The groups of a micro-batch with the features of those samples that a task of ``asked`` supervises.

        Where other processes wait for the passes of a task that this one has no sample of, a group has that task too.
        """
        sets = self.sets[part.first : part.first + part.length]
        of_asked = {tasks: tuple(t for t in tasks if t in asked) for tasks in set(sets)}
        groups = partition([of_asked[tasks] for tasks in sets], together, part.first)
        self._join(groups, part, asked)
        for group in groups:
            images = self._images if len(group.indices) == len(self.samples) else self._images[group.indices]
            with self._autocast():
                group.features = self.model.shared_features(images)
        return groups

    def _join(self, groups: list[Group], part: MicroBatch, asked: Sequence[str]) -> None:
        """Gives a group the tasks that this process has no sample of, but has to take part in for others' sake."""
        if self.reduction.world_size == 1:
            return
        mixed = self.model.synchronizes()
        here = {task for group in groups for task in group.tasks}
        for task, shares in zip(self.names, part.shares, strict=True):
            if task not in asked or task in here or not any(shares) or not (mixed or self.model.synchronizes(task)):
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
            chosen = [k for k, i in enumerate(group.indices) if task in self.sets[i]]
            if chosen and task in group.tasks:
                whole = len(chosen) == len(group.indices)
                parts.append(group.leaves if whole else {n: f[chosen] for n, f in group.leaves.items()})
                samples += [self.samples[group.indices[k]] for k in chosen]
        features = parts[0] if len(parts) == 1 else {n: torch.cat([p[n] for p in parts]) for n in (parts or [{}])[0]}
        with self._autocast():
            waiting = [g.leaves for g in groups if task in g.tasks] if not samples else []
            outputs = self.model.head_outputs(task, {n: f[:0] for n, f in waiting[0].items()}) if waiting else []
            terms = self.model.task_losses(task, features, samples, self.reduction)
        return {self._keys[task]: nothing_of(outputs)} if outputs else terms

    def weighted(self, i: int, part: MicroBatch, terms: dict[str, Tensor]) -> list[tuple[dict[str, Tensor], float]]:
        """The terms of task i's loss in a micro-batch: those of each source of labels, and their factor in L_i."""
        task = self.model.tasks[i]
        factors = [source.weight * share for source, share in zip(task.sources, part.shares[i], strict=True)]
        parts = [terms] if len(factors) == 1 else task.by_source(terms)
        return [(own, factor) for own, factor in zip(parts, factors, strict=True) if own]

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
    return _sum(list(terms.values()))


def weighted_total(weighted: Sequence[tuple[dict[str, Tensor], float]]) -> Tensor:
    """What a micro-batch adds to a task's loss; see ``Batch.weighted``."""
    return _sum([total(terms) * factor for terms, factor in weighted])


def _sum(values: Sequence[Tensor]) -> Tensor:
    return sum(values[1:], values[0])


def add_terms(terms: dict[str, Tensor], weighted: Sequence[tuple[dict[str, Tensor], float]]) -> None:
    """Adds a micro-batch's terms, times their factors, to those so far, in float64 and without a graph."""
    for more, factor in weighted:
        for name, value in more.items():
            part = value.detach().double() if factor == 1 else value.detach().double() * factor
            terms[name] = terms[name] + part if name in terms else part
