"""The exact gradient of every task at the price of little more than one backward pass.

The batch is partitioned by the set of tasks that supervise a sample. For each set the trunk runs once and its features
are detached; each head runs forward and backward to them on its own samples alone, and its graph is freed; then each
task of the set has one backward pass through the trunk, over those features only that its head used. A sample crosses
the trunk once forward, and once backward for each task that supervises it. A batch may be divided into micro-batches,
which go through all this one after the other.

A parameter is shared unless one task alone names it in its ``head_modules``: those of the trunk, and those inside heads
that two tasks reach, whose gradients come with the heads' backward passes and are added to the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_d2.balancing.exact.batch import Batch, Group, MicroBatch, add_terms, total
from mtl_d2.balancing.exact.precision import Precision
from mtl_d2.balancing.exact.rows import (
    TaskGradients,
    add,
    combine,
    divide,
    gramian,
    require_finite,
)
from mtl_d2.balancing.interfaces import Features, MultiTaskModel
from mtl_d2.parallel.reduction import Gradients, Reduction
from mtl_d2.tasks.task import divide_parameters


class Oracle:
    """Losses and gradients of one model on one batch at a time, at whatever parameters the model has now."""

    def __init__(
        self,
        model: MultiTaskModel,
        reduction: Reduction | None = None,
        last_shared: Sequence[str] = (),
        precision: Precision | None = None,
        accumulate: int = 1,
    ) -> None:
        """Looks at the model once.

        Args:
            model: is also an ``nn.Module``.
            reduction: sums over processes; by default there is one.
            last_shared: names of the modules of the last shared layer; by default the model says.
            precision: of the forward passes; by default that of the parameters.
            accumulate: K >= 1, micro-batches of an update.

        Raises:
            ValueError: ``last_shared`` names parameters that are not shared.
        """
        assert isinstance(model, nn.Module)
        self.model = model
        self.reduction = reduction or Reduction()
        self.names = tuple(task.name for task in model.tasks)
        self.parameters = tuple(model.parameters())
        self.shared, self.heads = divide_parameters(model, model.tasks)
        named = [p for name in last_shared for p in model.get_submodule(name).parameters()]
        last = {id(p) for p in (named or model.last_shared_parameters())}
        if named and not last <= {id(p) for p in self.shared}:
            raise ValueError(f"MTL.LAST_SHARED_LAYER {tuple(last_shared)} has parameters that no two tasks share")
        self.last_layer = [k for k, p in enumerate(self.shared) if id(p) in last]  # places among the shared parameters
        self.precision = precision or Precision()
        self.batch = Batch(model, self.reduction, self.precision, accumulate)
        self.accumulate = accumulate
        self.update = 0
        self.learning_rate = 1.0

    def load(self, samples: list[dict], update: int = 0, learning_rate: float = 1.0) -> None:
        """Takes this process's share of the global batch of an update, and the heads' present learning rate."""
        self.batch.load(samples)
        self.update = update
        self.learning_rate = learning_rate

    def gradients(self, tasks: Sequence[str] | None = None) -> TaskGradients:
        """Losses, whole rows and heads' gradients of ``tasks`` (by default all), read; see ``row_gradients``.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        gradients = self.row_gradients(tasks)
        self.read(gradients)
        return gradients

    def row_gradients(
        self, tasks: Sequence[str] | None = None, parts: bool = False, features: bool = False
    ) -> TaskGradients:
        """Each task's gradient of its head and of the shared parameters; every ``.grad`` is None afterwards.

        The losses are still to be ``read``.

        Args:
            tasks: those asked for, by default all; samples of no other task cross the trunk.
            parts: this process needs no more of each row than what it has charge of.
            features: take the Gramian of the features too.
        """
        gradients = self.nothing(tasks, features)
        groups: list[Group] = []
        for part in self.batch.parts:
            for i in range(len(self.names)):  # of the micro-batch before; the last one's pass comes row by row
                self._backward_trunk(i, groups, gradients.partial[i])
            groups = self._forward_and_heads(part, gradients)
        self.send_losses(gradients)
        self._average(gradients, groups, parts)
        return gradients

    def feature_gradients(self, products: bool = True) -> TaskGradients:
        """Each task's gradient of its head and of the features; ``one_trunk_backward`` is to follow.

        The losses are still to be ``read``.

        Args:
            products: take the Gramian of the features.
        """
        gradients = self.nothing(features=products)
        gradients.groups = [g for part in self.batch.parts for g in self._forward_and_heads(part, gradients)]
        self.send_losses(gradients)
        self._average(gradients)
        return gradients

    def head_gradients(self) -> TaskGradients:
        """Each task's loss and gradient of its head alone, read.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        gradients = self.nothing()
        gradients.partial = []
        for part in self.batch.parts:
            self._forward_and_heads(part, gradients)
        self.send_losses(gradients)
        self._average(gradients)
        self.read(gradients)
        return gradients

    def nothing(self, tasks: Sequence[str] | None = None, features: bool = False) -> TaskGradients:
        """Sums to begin with."""
        T, device = len(self.names), self.batch.device
        asked, present = self.names, self.batch.present
        if tasks is not None:
            asked, present = tuple(tasks), present & torch.tensor([name in tasks for name in self.names])
        return TaskGradients(
            asked,
            present,
            torch.zeros(T, dtype=torch.float64),
            [[None] * len(head) for head in self.heads],
            partial=[[None] * len(self.shared) for _ in self.names],
            features=torch.zeros(T, T, dtype=torch.float64, device=device) if features else None,
        )

    def _forward_and_heads(self, part: MicroBatch, gradients: TaskGradients) -> list[Group]:
        """Adds the losses and the heads' gradients of a micro-batch; those for the features are left in its groups."""
        with torch.set_grad_enabled(bool(gradients.partial)):
            groups = self.batch.trunk(part, gradients.asked, self.model.mixes_samples())
        self.drop_gradients(part)
        for group in groups:
            group.detach()
        for i, task in enumerate(self.names):
            if task in gradients.asked:
                self._run_head(i, part, groups, gradients)
        for group in groups:
            group.leaves = {}
        if gradients.features is not None:
            gradients.features += self._feature_gramian(groups) / self.precision.scale**2
        return groups

    def _run_head(self, i: int, part: MicroBatch, groups: list[Group], gradients: TaskGradients) -> None:
        """Forward and backward; the head's graph is freed before the next head runs."""
        weighted = self.batch.weighted(i, part, self.batch.head(self.names[i], groups))
        if weighted:
            self._backward_head(i, [(total(terms), factor) for terms, factor in weighted], groups, gradients)
        add_terms(gradients.local, weighted)

    def _backward_head(
        self, i: int, losses: list[tuple[Tensor, float]], groups: list[Group], gradients: TaskGradients
    ) -> None:
        """Backward to the features, the head, and what of the shared parameters the head reaches itself.

        Args:
            i: of the task.
            losses: of a micro-batch, one for each source of labels, and their factors in L_i.
            groups: of the micro-batch.
            gradients: to add to.
        """
        task, shared = self.names[i], self.shared if gradients.partial else []
        places = [(g, name) for g in groups if task in g.tasks for name, leaf in g.leaves.items() if leaf.requires_grad]
        inputs = [*(g.leaves[name] for g, name in places), *self.heads[i], *shared]
        seeds = [torch.full_like(loss, factor * self.precision.scale) for loss, factor in losses]
        roots = [loss for loss, _ in losses]
        taken = torch.autograd.grad(roots, inputs, seeds, allow_unused=True) if inputs else ()
        for (group, name), gradient in zip(places, taken, strict=False):
            if gradient is not None:
                group.gradients.setdefault(task, {})[name] = gradient
        add(gradients.heads[i], taken[len(places) : len(places) + len(self.heads[i])])
        if shared:
            add(gradients.partial[i], taken[-len(shared) :])

    def _backward_trunk(self, i: int, groups: list[Group], row: Gradients) -> None:
        """Adds what of a task's row comes through the features of ``groups``, whose graphs go after their last task."""
        for group in groups:
            used = group.gradients.pop(self.names[i], {})
            if used:
                outputs, seeds = group.pull(used)
                more = bool(group.gradients)
                add(row, torch.autograd.grad(outputs, self.shared, seeds, retain_graph=more, allow_unused=True))
                if not more:
                    group.features, group.leaves = {}, {}

    def _feature_gramian(self, groups: list[Group]) -> Tensor:
        """(T, T) float64 inner products of the tasks' gradients with respect to the features of a micro-batch."""
        places = [(g, name) for g in groups for name in {n: 0 for by_level in g.gradients.values() for n in by_level}]
        rows = [[g.gradients.get(task, {}).get(name) for g, name in places] for task in self.names]
        return gramian(rows).to(self.batch.device)

    def _average(self, gradients: TaskGradients, groups: list[Group] | None = None, parts: bool = False) -> None:
        """Heads' gradients of the global batch and, where the last micro-batch's ``groups`` are given, rows.

        Each row is under way while the next one is computed.
        """
        here = gradients.present.nonzero().flatten().tolist()
        exchange = gradients.exchange = self.reduction.exchange(parts)
        local = divide([g for i in here for g in gradients.heads[i]], self.precision.scale)
        exchange.send(local, [p for i in here for p in self.heads[i]])
        for i in here if groups is not None else ():
            row, gradients.partial[i] = gradients.partial[i], []
            self._backward_trunk(i, groups or [], row)
            exchange.send_row(divide(row, self.precision.scale), self.shared)
            del row
        flat, *rows = exchange.receive()
        head_gradients = iter(flat)
        gradients.heads = [[next(head_gradients) if i in here else None for _ in p] for i, p in enumerate(self.heads)]
        if groups is not None:
            arrived = iter(rows)
            gradients.rows = [next(arrived) if i in here else [None] * len(self.shared) for i in range(len(self.names))]

    def read(self, gradients: TaskGradients, last_layer: bool = False) -> dict[str, Tensor]:
        """Brings the losses and the Gramians to the CPU, in one transfer.

        Args:
            gradients: whose.
            last_layer: take the Gramian of the last shared layer too.

        Returns:
            (T, T) float64 Gramians by name, of what there is: of the rows ("all"), of the "last_layer", and of the
            "features". The last says how the tasks pull at the features, not at the parameters; tasks on different
            images have nothing in common there.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        gramians: dict[str, Tensor] = {}
        for level in ("all", "last_layer") if last_layer else ("all",):
            if gradients.rows:
                gramians[level] = gramian(gradients.rows_at(level, self.last_layer))
        device = self.batch.device
        numbers = []
        if gramians:
            numbers.append(gradients.exchange.total(torch.stack([g.to(device) for g in gramians.values()])))
        if gradients.features is not None:
            gramians["features"] = gradients.features
            numbers.append(self.reduction.total(gradients.features) / self.reduction.world_size**2)
        if gradients.arrival is not None:
            numbers.append(gradients.arrival())
        T = len(self.names)
        values = torch.cat([n.flatten() for n in numbers]).cpu() if numbers else torch.empty(0)
        *read, rest = values.split([T**2] * len(gramians) + [len(values) - len(gramians) * T**2])
        if gradients.arrival is not None:
            at_fault = gradients.take_losses(self.model.tasks, rest.tolist())
            where = f"Found by process {', '.join(map(str, at_fault))}."
            require_finite(gradients.losses, self.names, "the loss", self.update, lambda: f"{where} {self.hint()}")
        return {level: numbers.view(T, T) for level, numbers in zip(gramians, read, strict=True)}

    def send_losses(self, gradients: TaskGradients) -> None:
        """Starts averaging the ``local`` loss terms; this process says besides whether its own are finite."""
        zero = torch.zeros((), dtype=torch.float64, device=self.batch.device)
        keys = [key for task in self.model.tasks for key in task.loss_keys]
        values = torch.stack([gradients.local.get(key, zero).to(zero) for key in keys])
        broken = [zero] * self.reduction.world_size
        broken[self.reduction.rank] = (values - values).sum()  # NaN if one is not finite
        gradients.arrival = self.reduction.start_average(torch.cat([values, torch.stack(broken)]))

    def one_trunk_backward(self, gradients: TaskGradients, weights: Sequence[float]) -> Gradients:
        """sum_i weights_i g_i by one backward pass through the trunk, of ``feature_gradients``."""
        direction: Gradients = [None] * len(self.shared)
        for group in gradients.groups:
            pulls: Features = {}
            for task, by_level in group.gradients.items():
                for level, gradient in by_level.items():
                    pull = gradient * weights[self.names.index(task)]
                    pulls[level] = pulls[level] + pull if level in pulls else pull
            outputs = [group.features[level] for level in pulls]
            if outputs:
                add(direction, torch.autograd.grad(outputs, self.shared, list(pulls.values()), allow_unused=True))
        gradients.groups = []
        add(direction, combine(gradients.partial, weights))
        return self.reduction.average_gradients(divide(direction, self.precision.scale), self.shared)

    def drop_gradients(self, part: MicroBatch) -> None:
        """Sets every ``.grad`` to None, in the first micro-batch.

        After the trunk's forward pass: freed before it, with nothing else left of the last update, the memory would go
        back to the system and be made anew page by page, which takes 4 % of a step on a CPU with glibc. Freed after the
        heads, the peak would be higher.
        """
        for parameter in self.parameters if part is self.batch.parts[0] else ():
            parameter.grad = None

    def hint(self) -> str:
        """What to do about a number that is not finite, on this process."""
        files = ", ".join(str(sample.get("file_name", "?")) for sample in self.batch.samples)
        where = f"images of process {self.reduction.rank}" if self.reduction.world_size > 1 else "images"
        return f"Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, or look at the {where}: {files}"
