"""The exact gradient of every task at the price of little more than one backward pass.

The batch is partitioned by the set of tasks that supervise a sample. For each set the trunk runs once and its features
are detached; each head runs forward and backward to them on its own samples alone, and its graph is freed; then each
task of the set has one backward pass through the trunk, over those features only that its head used. A sample crosses
the trunk once forward, and once backward for each task that supervises it. A batch may be divided into micro-batches,
which go through all this one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Gradients, require_finite
from mtl_d2.balancing.gramian import feature_gramian, gramian
from mtl_d2.balancing.groups import Features, Group, MultiTaskModel, add, backward_to_leaves, backward_to_parameters
from mtl_d2.balancing.microbatch import MicroBatch
from mtl_d2.balancing.passes import Passes, add_terms, total
from mtl_d2.balancing.precision import Precision
from mtl_d2.balancing.reduction import Reduction
from mtl_d2.balancing.task_gradients import TaskGradients
from mtl_d2.tasks.task import head_parameters, shared_parameters


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
        self.heads = [head_parameters(model, task) for task in model.tasks]
        self.shared = shared_parameters(model, model.tasks)
        named = [p for name in last_shared for p in model.get_submodule(name).parameters()]
        last = {id(p) for p in (named or model.last_shared_parameters())}
        if named and not last <= {id(p) for p in self.shared}:
            raise ValueError(f"MTL.LAST_SHARED_LAYER {tuple(last_shared)} has parameters that no two tasks share")
        self.last_layer = [k for k, p in enumerate(self.shared) if id(p) in last]  # places among the shared parameters
        self.precision = precision or Precision()
        self.passes = Passes(model, self.reduction, self.precision, accumulate)
        self.update = 0
        self.learning_rate = 1.0

    def load(self, samples: list[dict], update: int = 0, learning_rate: float = 1.0) -> None:
        """Takes this process's share of the global batch of an update, and the heads' present learning rate."""
        self.passes.load(samples)
        self.update = update
        self.learning_rate = learning_rate

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
        terms: list[dict[str, Tensor]] = [{} for _ in self.names]
        heads: list[Gradients] = [[None] * len(own) for own in self.heads]
        rows: list[Gradients] = [[None] * len(self.shared) for _ in self.names]
        of_features: list[Tensor] = []
        groups: list[Group] = []
        for part in self.passes.parts:
            if trunk in ("rows", "parts"):  # of the micro-batch before; the last one's pass comes row by row
                for task, row in zip(self.names, rows, strict=True):
                    backward_to_parameters(task, groups, self.shared, row)
            with torch.set_grad_enabled(trunk != "no"):
                new = self.passes.trunk(part, asked, self.model.mixes_samples())
            self._drop_gradients(part)
            self._run_heads(part, new, asked, terms, heads)
            if features:
                of_features.append(feature_gramian([g.gradients for g in new], self.names, self.passes.device))
            groups = [*groups, *new] if trunk == "later" else new
            del new
        found = self._send_losses(terms, asked)
        found.features = torch.stack(of_features).sum(0) / self.precision.scale**2 if features else None
        found.groups = groups if trunk == "later" else []
        self._average(found, heads, rows if trunk in ("rows", "parts") else [], groups, trunk == "parts")
        if read:
            self.read(found)
        return found

    def _run_heads(
        self,
        part: MicroBatch,
        groups: list[Group],
        asked: Sequence[str],
        terms: list[dict[str, Tensor]],
        heads: list[Gradients],
    ) -> None:
        """Adds the heads' losses and gradients of a micro-batch; those for the features go into the groups."""
        for group in groups:
            group.detach()
        for i, task in enumerate(self.names):
            found = self.passes.head(task, groups) if task in asked else {}
            if not found:
                continue
            loss = total(found)
            seed = self.precision.seed(loss, part.shares[i])
            add(heads[i], backward_to_leaves(task, loss, seed, self.heads[i], groups))
            add_terms(terms[i], found, part.shares[i])
            del found, loss  # frees the head's graph before the next head runs
        for group in groups:
            group.leaves = {}

    def _average(
        self, found: TaskGradients, heads: list[Gradients], rows: list[Gradients], groups: list[Group], parts: bool
    ) -> None:
        """Fills in heads and rows of the global batch; each row is under way while the next one is computed.

        ``rows`` are those of the micro-batches before that of ``groups``; empty where none are asked for.
        """
        here = found.present.nonzero().flatten().tolist()
        found.exchange = self.reduction.exchange(parts)
        own_heads = self.precision.unscale([g for i in here for g in heads[i]])
        found.exchange.send(own_heads, [p for i in here for p in self.heads[i]])
        for i in here if rows else []:
            backward_to_parameters(self.names[i], groups, self.shared, rows[i])
            found.exchange.send_row(self.precision.unscale(rows[i]), self.shared)
            rows[i] = []
        flat, *received = found.exchange.receive()
        own = iter(flat)
        found.heads = [[next(own) if i in here else None for _ in p] for i, p in enumerate(self.heads)]
        if rows:
            found.rows = [received.pop(0) if i in here else [None] * len(self.shared) for i in range(len(self.names))]

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
        for level in ("all", "last_layer") if last_layer else ("all",):
            if found.rows:
                gramians[level] = gramian(found.rows_at(level, self.last_layer))
        device = self.passes.device
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
            at_fault = found.take_losses(self.model.tasks, values[len(gramians) * T**2 :].tolist())
            where = f"Found by process {', '.join(map(str, at_fault))}."
            require_finite(found.losses, self.names, "the loss", self.update, lambda: f"{where} {self.hint()}")
        return dict(zip(gramians, squares, strict=True))

    def one_backward(self, factors: Callable[[Tensor, Tensor], Tensor]) -> TaskGradients:
        """One ordinary backward pass of a weighted sum of the losses, into every ``.grad``.

        Heads of absent tasks, and parameters that no present task uses, have None there afterwards.

        Args:
            factors: (losses, present) -> (T,) factor of each loss. With micro-batches it is asked before the losses are
                known, with zeros, and once more at the end: its answer must not depend on them.
        """
        terms: list[dict[str, Tensor]] = [{} for _ in self.names]
        divided = self.accumulate > 1
        known = factors(torch.zeros(len(self.names), dtype=torch.float64), self.passes.present) if divided else None
        for part in self.passes.parts:
            groups = self.passes.connected(part)
            self._drop_gradients(part)
            here = [self.passes.head(task, groups) for task in self.names]
            for so_far, own, share in zip(terms, here, part.shares, strict=True):
                add_terms(so_far, own, share)
            if known is None:
                found = self._send_losses(terms, self.names)
                self.read(found)
                known = factors(found.losses, found.present)
            weights = [factor * share for factor, share in zip(known.tolist(), part.shares, strict=True)]
            losses = [(total(own), weight) for own, weight in zip(here, weights, strict=True) if own]
            if losses:
                seeds = [self.precision.seed(loss, weight) for loss, weight in losses]
                torch.autograd.backward([loss for loss, _ in losses], seeds)
            del groups, here, losses  # frees the graph before the next micro-batch runs
        if divided:
            found = self._send_losses(terms, self.names)
            self.read(found)
            factors(found.losses, found.present)
        moving = [p for i in found.present.nonzero().flatten().tolist() for p in self.heads[i]] + self.shared
        own_gradients = self.precision.unscale([p.grad for p in moving])
        assign(self.reduction.average_gradients(own_gradients, moving), moving)
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
        return self.reduction.average_gradients(self.precision.unscale(direction), self.shared)

    def connected_losses(self, tasks: Sequence[str]) -> Iterator[list[Tensor | None]]:
        """This process's losses of ``tasks`` with the graph of the whole network; None for one without samples.

        Those of one micro-batch after the other, which add up to the losses.
        """
        for part in self.passes.parts:
            groups = self.passes.connected(part)
            terms = [self.passes.head(task, groups) for task in tasks]
            shares = [part.shares[self.names.index(task)] for task in tasks]
            yield [total(own) * share if own else None for own, share in zip(terms, shares, strict=True)]

    @property
    def accumulate(self) -> int:
        """K, the number of micro-batches of an update."""
        return self.passes.accumulate

    def _drop_gradients(self, part: MicroBatch) -> None:
        """Sets every ``.grad`` to None, in the first micro-batch.

        After the trunk's forward pass: freed before it, with nothing else left of the last update, the memory would go
        back to the system and be made anew page by page, which takes 4 % of a step on a CPU with glibc. Freed after the
        heads, the peak would be higher.
        """
        for parameter in self.model.parameters() if part is self.passes.parts[0] else ():
            parameter.grad = None

    def hint(self) -> str:
        """What to do about a number that is not finite, on this process."""
        files = ", ".join(str(sample.get("file_name", "?")) for sample in self.passes.samples)
        where = f"images of process {self.reduction.rank}" if self.reduction.world_size > 1 else "images"
        return f"Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, or look at the {where}: {files}"

    def _send_losses(self, terms: list[dict[str, Tensor]], asked: Sequence[str]) -> TaskGradients:
        """Which of the tasks are present; their loss terms are under way, and whether this process's are finite."""
        device = self.passes.device
        flat = {key: value for task_terms in terms for key, value in task_terms.items()}
        zero = torch.zeros((), dtype=torch.float64, device=device)
        values = torch.stack([flat.get(key, zero) for task in self.model.tasks for key in task.loss_keys]).to(device)
        broken = torch.zeros(self.reduction.world_size, dtype=torch.float64, device=device)
        broken[self.reduction.rank] = (~values.isfinite()).any()
        present = self.passes.present & torch.tensor([name in asked for name in self.names])
        arrival = self.reduction.start_average(torch.cat([values, broken]))
        return TaskGradients({}, torch.zeros(len(terms), dtype=torch.float64), present, [], [], unread=arrival)


def assign(gradients: Gradients, parameters: Sequence[nn.Parameter]) -> None:
    """Puts each gradient into its parameter's ``.grad``."""
    for gradient, parameter in zip(gradients, parameters, strict=True):
        parameter.grad = gradient
