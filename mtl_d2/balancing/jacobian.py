"""The exact gradient of every task at the price of little more than one backward pass.

The batch is partitioned by the set of tasks that supervise a sample. For each set the trunk runs once and its features
are detached; each head runs forward and backward to them on its own samples alone, and its graph is freed; then each
task of the set has one backward pass through the trunk, over those features only that its head used. A sample crosses
the trunk once forward, and once backward for each task that supervises it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.balancing.base import Gradients, require_finite
from mtl_d2.balancing.gramian import feature_gramian, gramian
from mtl_d2.balancing.groups import Features, Group, MultiTaskModel, backward_to_leaves, partition
from mtl_d2.balancing.reduction import Reduction
from mtl_d2.balancing.task_gradients import TaskGradients
from mtl_d2.tasks import head_parameters, shared_parameters


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
        self._images: Tensor | None = None
        self._present = torch.zeros(len(self.names), dtype=torch.bool)
        self.update = 0
        self.learning_rate = 1.0

    def load(self, samples: list[dict], update: int = 0, learning_rate: float = 1.0) -> None:
        """Takes this process's share of the global batch of an update, and the heads' present learning rate."""
        self.samples = [{**sample} for sample in samples]  # a model may keep in them what belongs to this update
        self.update = update
        self.learning_rate = learning_rate
        images = self.model.batch_images(samples) if samples else None
        size = images.shape[-2:] if images is not None and images.dim() == 4 else (0, 0)
        here = [any(task in self.model.sample_tasks(s) for s in samples) for task in self.names]
        height, width, *present = self.reduction.largest([*size, *map(int, here)])
        self._present = torch.tensor(present, dtype=torch.bool)
        if images is not None and tuple(size) != (height, width):  # dense heads compute loss on padding
            images = F.pad(images, (0, width - size[1], 0, height - size[0]))
        self._images = images

    def gradients(
        self, tasks: Sequence[str] | None = None, trunk: str = "rows", features: bool = False, read: bool = True
    ) -> TaskGradients:
        """Every task's loss and exact gradient at the present parameters; every ``.grad`` is None afterwards.

        Args:
            tasks: those asked for, all by default; samples of no other task cross the trunk.
            trunk: "rows" for each task's gradient of the shared parameters, "parts" for what this process has charge
                of in each, "later" to leave the trunk's backward pass to ``one_trunk_backward``, "no" for the heads'
                gradients alone.
            features: prepare the Gramian of the features.
            read: bring the losses to the CPU; otherwise that is left to ``read``.

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
            heads.append(backward_to_leaves(task, total(task_terms) if task_terms else None, parameters, groups))
            terms.append({name: value.detach() for name, value in task_terms.items()})
            del task_terms  # frees the head's graph before the next head runs
        found = self._send_losses(terms, asked)
        if features:
            device = next(self.model.parameters()).device
            found.features = feature_gramian([group.gradients for group in groups], self.names, device)
        found.groups = groups if trunk == "later" else []
        self._average(found, heads, groups, trunk)
        if read:
            self.read(found)
        return found

    def _average(self, found: TaskGradients, heads: list[Gradients], groups: list[Group], trunk: str) -> None:
        """Fills in heads and rows of the global batch; each row is under way while the next one is computed."""
        here = found.present.nonzero().flatten().tolist()
        found.exchange = self.reduction.exchange(parts=trunk == "parts")
        found.exchange.send([g for i in here for g in heads[i]], [p for i in here for p in self.heads[i]])
        for i in here if trunk in ("rows", "parts") else []:
            found.exchange.send_row(self._row(self.names[i], groups), self.shared)
        flat, *rows = found.exchange.receive()
        own = iter(flat)
        found.heads = [[next(own) if i in here else None for _ in p] for i, p in enumerate(self.heads)]
        if trunk in ("rows", "parts"):
            found.rows = [rows.pop(0) if i in here else [None] * len(self.shared) for i in range(len(self.names))]

    def read(self, found: TaskGradients, last_layer: bool = False) -> dict[str, Tensor]:
        """Brings the losses and the Gramians to the CPU, in one transfer.

        Args:
            found: as ``gradients`` gave it.
            last_layer: take the Gramian of the last shared layer too.

        Returns:
            (T, T) float64 Gramians by name, of what there is: of the rows ("all"), of the "last_layer", and of the
            "features". The last says how the tasks pull at the features, not at the parameters; tasks on different
            images have nothing in common there.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        gramians: dict[str, Tensor] = {}
        if found.rows:
            gramians["all"] = gramian(found.rows)
        if found.rows and last_layer:
            gramians["last_layer"] = gramian([[row[k] for k in self.last_layer] for row in found.rows])
        device = next(self.model.parameters()).device
        numbers = [found.exchange.total(torch.stack([g.to(device) for g in gramians.values()]))] if gramians else []
        if found.features is not None:
            gramians["features"] = found.features
            numbers.append(self.reduction.total(found.features) / self.reduction.world_size**2)
        if found.unread is not None:
            numbers.append(found.unread())
        if not numbers:
            return gramians
        T = len(self.names)
        values = torch.cat([n.flatten() for n in numbers]).cpu()
        squares = values[: len(gramians) * T**2].view(-1, T, T)
        if found.unread is not None:
            found.take_losses(self.model.tasks, values[len(gramians) * T**2 :].tolist())
            require_finite(found.losses, self.names, "the loss", self.update, self.hint())
        return dict(zip(gramians, squares, strict=True))

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
        found = self._send_losses(terms, self.names)
        self.read(found)
        scale = factors(found.losses, found.present).tolist()
        losses = [(total(t), scale[i]) for i, t in enumerate(terms) if t]
        if losses:
            torch.autograd.backward([x for x, _ in losses], [torch.full_like(x, factor) for x, factor in losses])
        moving = [p for i in found.present.nonzero().flatten().tolist() for p in self.heads[i]] + self.shared
        assign(self.reduction.average_gradients([p.grad for p in moving], moving), moving)
        return found

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
        assert self._images is not None
        for group in groups:
            whole = len(group.indices) == len(self.samples)
            group.features = self.model.shared_features(self._images if whole else self._images[group.indices])

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

    def _send_losses(self, terms: list[dict[str, Tensor]], asked: Sequence[str]) -> TaskGradients:
        """Which of the tasks are present; their loss terms are under way."""
        device = next(self.model.parameters()).device
        flat = {key: value.detach().double() for task_terms in terms for key, value in task_terms.items()}
        zero = torch.zeros((), dtype=torch.float64, device=device)
        values = torch.stack([flat.get(key, zero) for task in self.model.tasks for key in task.loss_keys]).to(device)
        present = self._present & torch.tensor([name in asked for name in self.names])
        arrival = self.reduction.start_average(values)
        return TaskGradients({}, torch.zeros(len(terms), dtype=torch.float64), present, [], [], unread=arrival)

    def _row(self, task: str, groups: list[Group]) -> Gradients:
        """A task's gradient with respect to the shared parameters; None for a parameter it does not reach.

        A group's graph is freed after its last task.
        """
        row: Gradients = [None] * len(self.shared)
        for group in groups:
            used = group.gradients.pop(task, {})
            if used:
                outputs = [group.features[name] for name in used]
                more = bool(group.gradients)
                found = torch.autograd.grad(
                    outputs, self.shared, list(used.values()), retain_graph=more, allow_unused=True
                )
                add(row, found)
                group.features = group.features if more else {}
        return row


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
