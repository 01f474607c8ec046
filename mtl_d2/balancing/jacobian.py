"""The exact gradient of every task at the price of little more than one backward pass.

The batch is partitioned by the set of tasks that supervise a sample. For each set the trunk runs once and its features
are detached; each head runs forward and backward to them on its own samples alone, and its graph is freed; then each
task of the set has one backward pass through the trunk, over those features only that its head used. A sample crosses
the trunk once forward, and once backward for each task that supervises it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Gradients, require_finite
from mtl_d2.balancing.gramian import inner_product
from mtl_d2.balancing.groups import Features, Group, MultiTaskModel, partition
from mtl_d2.balancing.reduction import Reduction
from mtl_d2.tasks import head_parameters, shared_parameters


@dataclass
class TaskGradients:
    """Losses and gradients of the tasks at one point, of the global batch.

    Attributes:
        terms: each present task's loss terms by name.
        losses: (T,) float64 on the CPU, L_i; 0 where absent or not asked for.
        present: (T,) bool on the CPU.
        rows: T lists, the gradient of L_i for each shared parameter or None; empty where no rows were asked for.
        heads: T lists, the gradient of L_i for each parameter of head i.
        groups: the parts of the batch, where the trunk's backward pass is still to come.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    rows: list[Gradients]
    heads: list[Gradients]
    groups: list[Group] = field(default_factory=list)


class Oracle:
    """Losses and gradients of one model on one batch at a time, at whatever parameters the model has now."""

    def __init__(
        self, model: MultiTaskModel, reduction: Reduction | None = None, last_shared: Sequence[str] = ()
    ) -> None:
        """Looks at the model once.

        Args:
            model: is also an ``nn.Module``.
            reduction: sums over processes; by default there is one.
            last_shared: names of the modules of the last shared layer; by default the model says.

        Raises:
            ValueError: ``last_shared`` names parameters that are not shared.
        """
        assert isinstance(model, nn.Module)
        self.model = model
        self.reduction = reduction or Reduction()
        self.names = tuple(task.name for task in model.tasks)
        self.heads = [head_parameters(model, task) for task in model.tasks]
        self.shared = shared_parameters(model, model.tasks)
        named = [p for name in last_shared for p in model.get_submodule(name).parameters()]
        last = {id(p) for p in (named or model.last_shared_parameters())}
        if named and not last <= {id(p) for p in self.shared}:
            raise ValueError(f"MTL.LAST_SHARED_LAYER {tuple(last_shared)} has parameters that no two tasks share")
        self.last_layer = [k for k, p in enumerate(self.shared) if id(p) in last]  # places among the shared parameters
        self.samples: list[dict] = []
        self.update = 0
        self.learning_rate = 1.0

    def load(self, samples: list[dict], update: int = 0, learning_rate: float = 1.0) -> None:
        """Takes this process's share of the global batch of an update, and the heads' present learning rate."""
        self.samples = [{**sample} for sample in samples]  # a model may keep in them what belongs to this update
        self.update = update
        self.learning_rate = learning_rate

    def gradients(self, tasks: Sequence[str] | None = None, trunk: str = "rows") -> TaskGradients:
        """Every task's loss and exact gradient at the present parameters; every ``.grad`` is None afterwards.

        Args:
            tasks: those asked for, all by default; samples of no other task cross the trunk.
            trunk: "rows" for each task's gradient of the shared parameters, "later" to leave the trunk's backward pass
                to ``one_trunk_backward``, "no" for the heads' gradients alone.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        asked = self.names if tasks is None else tuple(tasks)
        sets = [tuple(t for t in self.model.sample_tasks(s) if t in asked) for s in self.samples]
        groups = partition(sets, self.model.mixes_samples())
        with torch.set_grad_enabled(trunk != "no"):
            self._run_trunk(groups)
        self._drop_gradients()
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
        found.rows = self._rows(groups, found.present) if trunk == "rows" else []
        found.groups = groups if trunk == "later" else []
        found.heads = [
            self.reduction.average_gradients(own, parameters) if here else own
            for own, parameters, here in zip(heads, self.heads, found.present.tolist(), strict=True)
        ]
        return found

    def one_backward(self, factors: Callable[[Tensor, Tensor], Tensor]) -> TaskGradients:
        """One ordinary backward pass of a weighted sum of the losses, into every ``.grad``.

        Heads of absent tasks, and parameters that no present task uses, have None there afterwards.

        Args:
            factors: (losses, present) -> (T,) factor of each loss.
        """
        groups = partition([self.model.sample_tasks(s) for s in self.samples], together=True)
        self._run_trunk(groups)
        self._drop_gradients()
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

    def feature_gramian(self, found: TaskGradients) -> Tensor:
        """(T, T) float64 inner products of the task gradients with respect to the features, on the CPU.

        Approximate: it says how the tasks pull at the features, not at the parameters; tasks on different images have
        nothing in common there.
        """
        device = next(self.model.parameters()).device
        total = torch.zeros(len(self.names), len(self.names), dtype=torch.float64, device=device)
        for group in found.groups:
            for i, one in enumerate(self.names):
                for j, other in enumerate(self.names):
                    mine, theirs = group.gradients.get(one, {}), group.gradients.get(other, {})
                    for level in mine.keys() & theirs.keys():
                        total[i, j] += inner_product(mine[level], theirs[level])
        return self.reduction.total(total).cpu() / self.reduction.world_size**2

    def one_trunk_backward(self, found: TaskGradients, weights: Sequence[float]) -> Gradients:
        """sum_i weights_i g_i by one backward pass through the trunk; ``found`` is of ``trunk="later"``."""
        direction: Gradients = [None] * len(self.shared)
        for group in found.groups:
            pulls: Features = {}
            for task, own in group.gradients.items():
                for level, gradient in own.items():
                    pull = gradient * weights[self.names.index(task)]
                    pulls[level] = pulls[level] + pull if level in pulls else pull
            outputs = [group.features[level] for level in pulls]
            if outputs:
                add(direction, torch.autograd.grad(outputs, self.shared, list(pulls.values()), allow_unused=True))
        found.groups = []
        return self.reduction.average_gradients(direction, self.shared)

    def connected_losses(self, tasks: Sequence[str]) -> list[Tensor | None]:
        """This process's losses of ``tasks`` with the graph of the whole network; None for one without samples."""
        groups = partition([self.model.sample_tasks(s) for s in self.samples], together=True)
        self._run_trunk(groups)
        for group in groups:
            group.leaves = group.features
        terms = [self._task_terms(task, groups) for task in tasks]
        return [total(t) if t else None for t in terms]

    def _drop_gradients(self) -> None:
        """Sets every ``.grad`` to None.

        After the trunk's forward pass: freed before it, with nothing else left of the last update, the memory would go
        back to the system and be made anew page by page, which takes 4 % of a step on a CPU with glibc. Freed after the
        heads, the peak would be higher.
        """
        for parameter in self.model.parameters():
            parameter.grad = None

    def hint(self) -> str:
        """What to do about a number that is not finite."""
        files = ", ".join(str(sample.get("file_name", "?")) for sample in self.samples)
        return "Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, or look at the images: " + files

    def _run_trunk(self, groups: list[Group]) -> None:
        if not groups:  # an allocation may leave this process no sample at all
            return
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
                add(rows[self.names.index(task)], found)
            group.features = {}
        for i, row in enumerate(rows):
            if present[i]:
                rows[i] = self.reduction.average_gradients(row, self.shared)
        return rows


def add(gradients: Gradients, more: Sequence[Tensor | None]) -> None:
    """Adds ``more`` to ``gradients``, in place of the list but not of the tensors, which autograd may have shared."""
    for k, gradient in enumerate(more):
        so_far = gradients[k]
        gradients[k] = gradient if so_far is None else so_far if gradient is None else so_far + gradient


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
