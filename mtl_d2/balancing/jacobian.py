"""The exact gradient of every task at the price of little more than one backward pass.

The batch is partitioned by the set of tasks that supervise a sample. For each set the trunk runs once and its features
are detached; each head runs forward and backward to them on its own samples alone, and its graph is freed; then each
task of the set has one backward pass through the trunk, over those features only that its head used. A sample crosses
the trunk once forward, and once backward for each task that supervises it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Gradients, require_finite
from mtl_d2.balancing.reduction import Reduction
from mtl_d2.tasks import Task, head_parameters, shared_parameters

Features = dict[str, Tensor]


class MultiTaskModel(Protocol):
    """What the update needs of a model, besides being an ``nn.Module``."""

    tasks: tuple[Task, ...]

    def sample_tasks(self, sample: dict) -> tuple[str, ...]:
        """Names of the model's tasks that supervise ``sample``."""

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, C, H, W) normalized images, padded to one size."""

    def shared_features(self, images: Tensor) -> Features:
        """What the heads work on, by name, each (N, ...)."""

    def task_losses(
        self, task: str, features: Features, samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """The terms of one task's loss over ``samples``, by name.

        With no sample it takes part in the collectives and returns nothing. Normalizers go through ``reduction.count``.
        """

    def mixes_samples(self) -> bool:
        """Whether a sample's features depend on the other samples of the batch."""

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """Parameters of the last layer that two tasks share."""


@dataclass
class Group:
    """Samples supervised by the same set of tasks (or all samples, where the trunk mixes them)."""

    indices: list[int]
    tasks: tuple[str, ...]
    features: Features = field(default_factory=dict)
    leaves: Features = field(default_factory=dict)
    gradients: dict[str, Features] = field(default_factory=dict)  # by task: with respect to the leaves that it used


def partition(sample_tasks: Sequence[tuple[str, ...]], together: bool) -> list[Group]:
    """Groups of the samples of a batch; samples without a task are in none, unless all stay together.

    Args:
        sample_tasks: for each sample, the tasks that supervise it.
        together: keep the whole batch in one group.
    """
    if together:
        tasks = tuple(dict.fromkeys(t for tasks in sample_tasks for t in tasks))
        return [Group(list(range(len(sample_tasks))), tasks)] if tasks else []
    groups: dict[tuple[str, ...], Group] = {}
    for index, tasks in enumerate(sample_tasks):
        if tasks:
            groups.setdefault(tasks, Group([], tasks)).indices.append(index)
    return list(groups.values())


@dataclass
class TaskGradients:
    """Losses and gradients of the tasks at one point, of the global batch.

    Attributes:
        terms: each present task's loss terms by name.
        losses: (T,) float64 on the CPU, L_i; 0 where absent or not asked for.
        present: (T,) bool on the CPU.
        rows: T lists, the gradient of L_i for each shared parameter or None; empty where no rows were asked for.
        heads: T lists, the gradient of L_i for each parameter of head i.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    rows: list[Gradients]
    heads: list[Gradients]


class Oracle:
    """Losses and gradients of one model on one batch at a time, at whatever parameters the model has now."""

    def __init__(self, model: MultiTaskModel, reduction: Reduction | None = None) -> None:
        """Args: ``model`` is also an ``nn.Module``; ``reduction`` sums over processes, by default there is one."""
        assert isinstance(model, nn.Module)
        self.model = model
        self.reduction = reduction or Reduction()
        self.names = tuple(task.name for task in model.tasks)
        self.heads = [head_parameters(model, task) for task in model.tasks]
        self.shared = shared_parameters(model, model.tasks)
        last = {id(p) for p in model.last_shared_parameters()}
        self.last_layer = [k for k, p in enumerate(self.shared) if id(p) in last]  # places among the shared parameters
        self.samples: list[dict] = []
        self.update = 0

    def load(self, samples: list[dict], update: int = 0) -> None:
        """Takes this process's share of the global batch of an update."""
        self.samples = samples
        self.update = update

    def gradients(self, tasks: Sequence[str] | None = None, rows: bool = True) -> TaskGradients:
        """Every task's loss and exact gradient at the present parameters.

        Args:
            tasks: those asked for, all by default; samples of no other task cross the trunk.
            rows: whether gradients of the shared parameters are wanted, or those of the heads alone.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        asked = self.names if tasks is None else tuple(tasks)
        sets = [tuple(t for t in self.model.sample_tasks(s) if t in asked) for s in self.samples]
        groups = partition(sets, self.model.mixes_samples())
        with torch.set_grad_enabled(rows):
            self._run_trunk(groups)
        for group in groups:  # a leaf for each feature: what a head does to it stays the head's
            group.leaves = {k: f.detach().requires_grad_(f.requires_grad) for k, f in group.features.items()}
        terms: list[dict[str, Tensor]] = []
        heads: list[Gradients] = []
        for task, parameters in zip(self.names, self.heads, strict=True):
            task_terms = self._task_terms(task, groups) if task in asked else {}
            heads.append(_backward_to_leaves(task, task_terms, parameters, groups))
            terms.append({name: value.detach() for name, value in task_terms.items()})
            del task_terms  # frees the head's graph before the next head runs
        found = self._reduce_losses(terms)
        found.rows = self._rows(groups, found.present) if rows else []
        found.heads = [
            self.reduction.average_gradients(own, parameters) if here else own
            for own, parameters, here in zip(heads, self.heads, found.present.tolist(), strict=True)
        ]
        return found

    def one_backward(self, factors: Callable[[Tensor, Tensor], Tensor]) -> TaskGradients:
        """One ordinary backward pass of a weighted sum of the losses, into every ``.grad``.

        Heads of absent tasks, and parameters that no present task uses, keep ``.grad`` as it was.

        Args:
            factors: (losses, present) -> (T,) factor of each loss.
        """
        groups = partition([self.model.sample_tasks(s) for s in self.samples], together=True)
        self._run_trunk(groups)
        for group in groups:
            group.leaves = group.features
        terms = [self._task_terms(task, groups) for task in self.names]
        found = self._reduce_losses(terms)
        scale = factors(found.losses, found.present).tolist()
        losses = [(total(t), scale[i]) for i, t in enumerate(terms) if t]
        if losses:
            torch.autograd.backward([x for x, _ in losses], [torch.full_like(x, factor) for x, factor in losses])
        for i, parameters in enumerate([*self.heads, self.shared]):
            if i == len(self.heads) or found.present[i]:
                assign(self.reduction.average_gradients([p.grad for p in parameters], parameters), parameters)
        return found

    def hint(self) -> str:
        """What to do about a number that is not finite."""
        files = ", ".join(str(sample.get("file_name", "?")) for sample in self.samples)
        return "Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, or look at the images: " + files

    def _run_trunk(self, groups: list[Group]) -> None:
        images = self.model.batch_images(self.samples)  # padded as one batch: dense heads compute loss on padding
        for group in groups:
            whole = len(group.indices) == len(self.samples)
            group.features = self.model.shared_features(images if whole else images[group.indices])

    def _task_terms(self, task: str, groups: list[Group]) -> dict[str, Tensor]:
        parts: list[Features] = []
        samples: list[dict] = []
        for group in groups:
            chosen = [k for k, i in enumerate(group.indices) if task in self.model.sample_tasks(self.samples[i])]
            if chosen and task in group.tasks:
                whole = len(chosen) == len(group.indices)
                parts.append(group.leaves if whole else {n: f[chosen] for n, f in group.leaves.items()})
                samples += [self.samples[group.indices[k]] for k in chosen]
        features = parts[0] if len(parts) == 1 else {n: torch.cat([p[n] for p in parts]) for n in (parts or [{}])[0]}
        return self.model.task_losses(task, features, samples, self.reduction)

    def _reduce_losses(self, terms: list[dict[str, Tensor]]) -> TaskGradients:
        """Global losses, and which tasks are present; one transfer to the CPU."""
        device = next(self.model.parameters()).device
        keys = [key for task in self.model.tasks for key in task.loss_keys]
        flat = {key: value.detach().double() for task_terms in terms for key, value in task_terms.items()}
        zero = torch.zeros((), dtype=torch.float64, device=device)
        values = torch.stack([flat.get(key, zero) for key in keys]).to(device)
        seen = torch.tensor([float(bool(t)) for t in terms], dtype=torch.float64, device=device)
        values = self.reduction.average(torch.cat([values, seen])).cpu()
        present = values[len(keys) :] > 0
        named = dict(zip(keys, values.tolist(), strict=False))
        losses = torch.tensor(
            [sum(named[key] for key in task.loss_keys) for task in self.model.tasks], dtype=torch.float64
        )
        require_finite(losses, self.names, "the loss", self.update, self.hint())
        here = [task for task, there in zip(self.model.tasks, present.tolist(), strict=True) if there]
        shown = {key: named[key] for task in here for key in task.loss_keys}
        return TaskGradients(shown, losses, present, [], [])

    def _rows(self, groups: list[Group], present: Tensor) -> list[Gradients]:
        """For each task its gradient with respect to the shared parameters; None for a parameter it does not reach."""
        rows: list[Gradients] = [[None] * len(self.shared) for _ in self.names]
        for group in groups:
            for last, task in _mark_last([t for t in self.names if group.gradients.get(t)]):
                used = group.gradients.pop(task)
                outputs = [group.features[name] for name in used]
                found = torch.autograd.grad(
                    outputs, self.shared, list(used.values()), retain_graph=not last, allow_unused=True
                )
                row = rows[self.names.index(task)]
                for k, gradient in enumerate(found):
                    so_far = row[k]
                    row[k] = gradient if so_far is None else so_far if gradient is None else so_far + gradient
            group.features = {}
        for i, row in enumerate(rows):
            if present[i]:
                rows[i] = self.reduction.average_gradients(row, self.shared)
        return rows


def assign(gradients: Gradients, parameters: Sequence[nn.Parameter]) -> None:
    """Puts each gradient into its parameter's ``.grad``."""
    for gradient, parameter in zip(gradients, parameters, strict=True):
        parameter.grad = gradient


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a task's loss terms, of which there is one at least."""
    return sum(list(terms.values())[1:], next(iter(terms.values())))


def _backward_to_leaves(
    task: str, terms: dict[str, Tensor], parameters: list[nn.Parameter], groups: list[Group]
) -> Gradients:
    """Gradients of one task's loss for its head; those for the features go into the groups."""
    if not terms:
        return [None] * len(parameters)
    leaves = [
        (g, name, leaf) for g in groups if task in g.tasks for name, leaf in g.leaves.items() if leaf.requires_grad
    ]
    found = torch.autograd.grad(total(terms), [*(leaf for _, _, leaf in leaves), *parameters], allow_unused=True)
    for (group, name, _), gradient in zip(leaves, found, strict=False):
        if gradient is not None:
            group.gradients.setdefault(task, {})[name] = gradient
    return list(found[len(leaves) :])


def _mark_last(items: list[str]) -> list[tuple[bool, str]]:
    return [(k == len(items) - 1, item) for k, item in enumerate(items)]
