"""The exact gradient of every task at the price of little more than one backward pass.

The batch is partitioned by the set of tasks that supervise a sample. For each set the trunk runs once and its features
are detached; each head runs forward and backward to them on its own samples alone, and its graph is freed; then each
task of the set has one backward pass through the trunk, over those features only that its head used. A sample crosses
the trunk once forward, and once backward for each task that supervises it. A batch may be divided into micro-batches,
which go through all this one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Gradients, require_finite
from mtl_d2.balancing.gramian import inner_product
from mtl_d2.balancing.groups import Features, Group, MultiTaskModel, add, backward_to_leaves, backward_to_parameters
from mtl_d2.balancing.microbatch import MicroBatch
from mtl_d2.balancing.passes import Passes
from mtl_d2.balancing.precision import Precision
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
        terms: list[dict[str, Tensor]] = [{} for _ in self.names]
        heads: list[Gradients] = [[None] * len(own) for own in self.heads]
        rows: list[Gradients] = [[None] * len(self.shared) for _ in self.names]
        images = self.passes.images()
        groups: list[Group] = []
        for part in self.passes.parts:
            if trunk == "rows":  # of the micro-batch before; the last one's pass comes when the losses are known
                backward_to_parameters(groups, self.names, self.shared, rows)
            with torch.set_grad_enabled(trunk != "no"):
                new = self.passes.trunk(part, images, asked, self.model.mixes_samples())
            self._drop_gradients(part)
            self._run_heads(part, new, asked, terms, heads)
            groups = [*groups, *new] if trunk == "later" else new
            del new
        found = self._reduce_losses(terms)
        found.rows = self._rows(groups, found.present, rows) if trunk == "rows" else []
        found.groups = groups if trunk == "later" else []
        found.heads = [
            self.reduction.average_gradients(self.precision.unscale(own), parameters) if here else own
            for own, parameters, here in zip(heads, self.heads, found.present.tolist(), strict=True)
        ]
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
        for group in groups:  # a leaf for each feature: what a head does to it stays the head's
            group.leaves = {k: f.detach().requires_grad_(f.requires_grad) for k, f in group.features.items()}
        for i, task in enumerate(self.names):
            found = self.passes.head(task, groups) if task in asked else {}
            if not found:
                continue
            loss = total(found)
            seed = self.precision.seed(loss, part.shares[i])
            add(heads[i], backward_to_leaves(task, loss, seed, self.heads[i], groups))
            _add_terms(terms[i], found, part.shares[i])
            del found, loss  # frees the head's graph before the next head runs

    def one_backward(self, factors: Callable[[Tensor, Tensor], Tensor]) -> TaskGradients:
        """One ordinary backward pass of a weighted sum of the losses, into every ``.grad``.

        Heads of absent tasks, and parameters that no present task uses, have None there afterwards.

        Args:
            factors: (losses, present) -> (T,) factor of each loss. With micro-batches it is asked before the losses are
                known, with zeros, and once more at the end: its answer must not depend on them.
        """
        terms: list[dict[str, Tensor]] = [{} for _ in self.names]
        divided = self.accumulate > 1
        known = factors(torch.zeros(len(self.names), dtype=torch.float64), self.passes.expected()) if divided else None
        images = self.passes.images()
        for part in self.passes.parts:
            here = self.passes.connected(part, images, self.names)
            self._drop_gradients(part)
            for so_far, own, share in zip(terms, here, part.shares, strict=True):
                _add_terms(so_far, own, share)
            if known is None:
                found = self._reduce_losses(terms)
                known = factors(found.losses, found.present)
            weights = [factor * share for factor, share in zip(known.tolist(), part.shares, strict=True)]
            losses = [(total(own), weight) for own, weight in zip(here, weights, strict=True) if own]
            if losses:
                seeds = [self.precision.seed(loss, weight) for loss, weight in losses]
                torch.autograd.backward([loss for loss, _ in losses], seeds)
            del here, losses  # frees the graph before the next micro-batch runs
        if divided:
            found = self._reduce_losses(terms)
            factors(found.losses, found.present)
        for i, parameters in enumerate([*self.heads, self.shared]):
            if i == len(self.heads) or found.present[i]:
                own_gradients = self.precision.unscale([p.grad for p in parameters])
                assign(self.reduction.average_gradients(own_gradients, parameters), parameters)
        return found

    def feature_gramian(self, found: TaskGradients) -> Tensor:
        """(T, T) float64 inner products of the task gradients with respect to the features, on the CPU.

        Approximate: it says how the tasks pull at the features, not at the parameters; tasks on different images have
        nothing in common there.
        """
        total = torch.zeros(len(self.names), len(self.names), dtype=torch.float64, device=self.passes.device)
        for group in found.groups:
            for i, one in enumerate(self.names):
                for j, other in enumerate(self.names):
                    mine, theirs = group.gradients.get(one, {}), group.gradients.get(other, {})
                    for level in mine.keys() & theirs.keys():
                        total[i, j] += inner_product(mine[level], theirs[level])
        return self.reduction.total(total).cpu() / (self.reduction.world_size * self.precision.scale) ** 2

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
        images = self.passes.images()
        for part in self.passes.parts:
            terms = self.passes.connected(part, images, tasks)
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

    def _reduce_losses(self, terms: list[dict[str, Tensor]]) -> TaskGradients:
        """Global losses, and which tasks are present; one transfer to the CPU."""
        device = self.passes.device
        keys = [key for task in self.model.tasks for key in task.loss_keys]
        flat = {key: value.detach().double() for task_terms in terms for key, value in task_terms.items()}
        zero = torch.zeros((), dtype=torch.float64, device=device)
        values = torch.stack([flat.get(key, zero) for key in keys]).to(device)
        seen = torch.tensor([float(bool(t)) for t in terms], dtype=torch.float64, device=device)
        broken = torch.zeros(self.reduction.world_size, dtype=torch.float64, device=device)
        broken[self.reduction.rank] = (~values.isfinite()).any()
        values = self.reduction.average(torch.cat([values, seen, broken])).cpu()
        present = values[len(keys) : len(keys) + len(self.names)] > 0
        named = dict(zip(keys, values.tolist(), strict=False))
        losses = torch.tensor(
            [sum(named[key] for key in task.loss_keys) for task in self.model.tasks], dtype=torch.float64
        )
        at_fault = ", ".join(str(rank) for rank in values[len(keys) + len(self.names) :].nonzero().flatten().tolist())
        require_finite(losses, self.names, "the loss", self.update, f"Found by process {at_fault}. {self.hint()}")
        here = [task for task, there in zip(self.model.tasks, present.tolist(), strict=True) if there]
        shown = {key: named[key] for task in here for key in task.loss_keys}
        return TaskGradients(shown, losses, present, [], [])

    def _rows(self, groups: list[Group], present: Tensor, rows: list[Gradients]) -> list[Gradients]:
        """For each task its gradient with respect to the shared parameters; None for a parameter it does not reach.

        ``rows`` are those of the micro-batches before.
        """
        backward_to_parameters(groups, self.names, self.shared, rows)
        for i, row in enumerate(rows):
            if present[i]:
                rows[i] = self.reduction.average_gradients(self.precision.unscale(row), self.shared)
        return rows


def assign(gradients: Gradients, parameters: Sequence[nn.Parameter]) -> None:
    """Puts each gradient into its parameter's ``.grad``."""
    for gradient, parameter in zip(gradients, parameters, strict=True):
        parameter.grad = gradient


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a task's loss terms, of which there is one at least."""
    return sum(list(terms.values())[1:], next(iter(terms.values())))


def _add_terms(terms: dict[str, Tensor], more: dict[str, Tensor], share: float) -> None:
    for name, value in more.items():
        part = value.detach().double() * share
        terms[name] = terms[name] + part if name in terms else part
