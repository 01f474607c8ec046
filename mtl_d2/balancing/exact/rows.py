"""Task gradients, kept parameter by parameter, and what is asked of them: sums, inner products, finite entries.

T tasks; a row is a task's gradient of the shared parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mtl_d2.balancing.exact.coordinates import combined_gramian, coordinates
from mtl_d2.parallel.reduction import Exchange, Gradients

if TYPE_CHECKING:
    from mtl_d2.balancing.exact.batch import Group
    from mtl_d2.balancing.interfaces import Task

CHUNK = 4096  # float32 sums this long, added in float64: relative error about 1e-9
BLOCK = 2**16  # elements that a CPU takes of all rows at a time: they stay in its cache for all their products

Products = dict[tuple[int, int], list[Tensor]]  # sums over parts of two rows i >= j
Multiply = Callable[[dict[int, Tensor], Products], None]


@dataclass
class TaskGradients:
    """Losses and gradients of the tasks at one point, of the global batch.

    Attributes:
        asked: names of the tasks that were asked for.
        present: (T,) bool on the CPU, those of them that have a sample in some process.
        losses: (T,) float64 on the CPU, L_i; 0 where absent, and until ``Oracle.read``.
        heads: T lists, the gradient of L_i for each parameter of head i.
        terms: each present task's loss terms by name; empty until ``Oracle.read``.
        rows: T lists, the gradient of L_i for each shared parameter or None, or the part of it that this process has
            charge of; empty where the trunk was not differentiated.
        exchange: knows what the rows are parts of.
        groups: the parts of the batch, where the trunk's backward pass is still to come.
        partial: T lists like ``rows``, this process's sums so far of what does not come through these groups.
        features: (T, T) this process's part of the Gramian of the features, where it was asked for.
        start_losses: (T,) the losses at the parameters that the update starts from, where the gradients are of others.
        local: this process's loss terms so far.
        arrival: waits for what ``take_losses`` takes, on the model's device.
    """

    asked: tuple[str, ...]
    present: Tensor
    losses: Tensor
    heads: list[Gradients]
    terms: dict[str, float] = field(default_factory=dict)
    rows: list[Gradients] = field(default_factory=list)
    exchange: Exchange = field(default_factory=Exchange)
    groups: list[Group] = field(default_factory=list)
    partial: list[Gradients] = field(default_factory=list)
    features: Tensor | None = None
    start_losses: Tensor | None = None
    local: dict[str, Tensor] = field(default_factory=dict)
    arrival: Callable[[], Tensor] | None = None

    def rows_at(self, level: str, last_layer: Sequence[int]) -> list[Gradients]:
        """The rows of "all" shared parameters, or of those at ``last_layer``; empty where there are none at a level."""
        if level == "last_layer":
            return [[row[k] for k in last_layer] for row in self.rows]
        return self.rows if level == "all" else []

    def coordinates(self, gramian: Tensor, level: str, last_layer: Sequence[int]) -> Tensor:
        """(T, r) ``coordinates`` of the rows at a level, whose (T, T) Gramian has been read; see there."""
        rows = self.rows_at(level, last_layer)

        def look(factors: Tensor) -> Tensor:
            return self.exchange.total(combined_gramian(rows, factors)).cpu()

        return coordinates(gramian, look if rows else None)

    def take_losses(self, tasks: Sequence[Task], values: list[float]) -> list[int]:
        """Fills in ``losses`` and ``terms``.

        Args:
            tasks: all T.
            values: the loss terms of all their loss keys; then for each process 0, or NaN if one of its own is not
                finite.

        Returns:
            Those processes.
        """
        keys = [key for task in tasks for key in task.loss_keys]
        named = dict(zip(keys, values, strict=False))
        sums = [sum(named[key] for key in task.loss_keys) for task in tasks]
        here = [task for task, there in zip(tasks, self.present.tolist(), strict=True) if there]
        self.losses = torch.tensor(sums, dtype=torch.float64)
        self.terms.update({key: named[key] for task in here for key in task.loss_keys})
        self.arrival = None
        return [rank for rank, broken in enumerate(values[len(keys) :]) if broken]


def gramian(rows: Sequence[Gradients]) -> Tensor:
    """(T, T) float64 inner products of T rows, on the device of the rows.

    Parts of a parameter are multiplied in the rows' precision (float32 at least), and their sums added in float64. What
    is left over of all parameters is put together, as if it were one, and the last of it multiplied in float64.

    Args:
        rows: for each task, one tensor for each parameter, or None where its gradient is zero.
    """
    device = next((t.device for row in rows for t in row if t is not None), torch.device("cpu"))
    if device.type != "cpu":
        return _gramian(rows, device, _chunks)
    with _one_thread():
        return _gramian(rows, device, _blocks)


def _gramian(rows: Sequence[Gradients], device: torch.device, multiply: Multiply) -> Tensor:
    T = len(rows)
    products: Products = {(i, j): [] for i in range(T) for j in range(i + 1)}
    rests: list[list[Tensor]] = [[] for _ in rows]
    for parts in zip(*rows, strict=True):
        flats = [None if part is None else _flat(part) for part in parts]
        like = next((flat for flat in flats if flat is not None), None)
        if like is None:
            continue
        whole = like.numel() // CHUNK * CHUNK
        if whole:
            multiply({i: flat[:whole] for i, flat in enumerate(flats) if flat is not None}, products)
        for flat, rest in zip(flats, rests, strict=True) if like.numel() > whole else ():
            of_row = torch.zeros_like(like) if flat is None else flat
            rest.append(of_row[whole:] if whole else of_row)
    joined = [torch.cat(rest) if rest else _zeros(0, device) for rest in rests]
    whole = joined[0].numel() // CHUNK * CHUNK if joined else 0
    if whole:
        multiply({i: flat[:whole] for i, flat in enumerate(joined)}, products)
    left_over = [flat[whole:].double() for flat in joined]
    total = {
        (i, j): left_over[i] @ left_over[j] + (torch.cat(sums).double().sum() if sums else 0)
        for (i, j), sums in products.items()
    }
    return torch.stack([total[max(i, j), min(i, j)] for i in range(T) for j in range(T)]).view(T, T)


def _chunks(flats: dict[int, Tensor], products: Products) -> None:
    """One kernel for each pair: to start one takes a GPU longer than to multiply a million numbers."""
    for i, j in _pairs(flats):
        products[i, j].append(torch.linalg.vecdot(flats[i].view(-1, CHUNK), flats[j].view(-1, CHUNK)))


def _blocks(flats: dict[int, Tensor], products: Products) -> None:
    """All pairs of a block before the next block: ``vecdot`` would write products to memory and read them again."""
    for blocks in zip(*(flat.split(BLOCK) for flat in flats.values()), strict=True):
        of_row = dict(zip(flats, blocks, strict=True))
        for i, j in _pairs(flats):
            products[i, j].append(torch.dot(of_row[i], of_row[j])[None])


@contextmanager
def _one_thread() -> Iterator[None]:
    """For thousands of short products: several threads take three times as long to begin and end each together."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pairs(rows: dict[int, Tensor]) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in rows for j in rows if j <= i)


def _zeros(count: int, device: torch.device) -> Tensor:
    return torch.zeros(count, dtype=torch.float64, device=device)


def _flat(gradient: Tensor) -> Tensor:
    """(n,), in float32 at least: products in half precision would be added up in it."""
    flat = gradient.reshape(-1)
    return flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat


def cosines(gramian: Tensor) -> Tensor:
    """(T, T) cosines between the rows of a Gramian; 0 with a row of zeros.

    Args:
        gramian: (T, T) float64, finite.
    """
    products = gramian.tolist()  # a dozen operators on so few numbers take ten times as long
    inverse = [1 / math.sqrt(row[i]) if row[i] > 0 else 0.0 for i, row in enumerate(products)]
    # One norm after the other: the product of two tiny norms would underflow.
    values = [
        [min(max(x * a * b, -1.0), 1.0) for x, b in zip(row, inverse, strict=True)]
        for row, a in zip(products, inverse, strict=True)
    ]
    return torch.tensor(values, dtype=gramian.dtype, device=gramian.device)


def combine(rows: list[Gradients], weights: Sequence[float]) -> Gradients:
    """sum_i weights_i rows_i, parameter by parameter, freeing the rows on the way.

    A row may hold the same tensor twice, as autograd gives it, so nothing of a row is written to.
    """
    combined: Gradients = []
    for k in range(len(rows[0])):
        total: Tensor | None = None
        for row, weight in zip(rows, weights, strict=True):
            gradient, row[k] = row[k], None
            if gradient is not None and weight != 0:
                total = gradient * weight if total is None else total.add_(gradient, alpha=weight)
            elif gradient is not None and total is None:
                total = torch.zeros_like(gradient)
        combined.append(total)
    return combined


def add(gradients: Gradients, more: Sequence[Tensor | None]) -> None:
    """Adds ``more`` to ``gradients``, in place of the list but not of the tensors, which autograd may have shared."""
    for k, gradient in enumerate(more):
        so_far = gradients[k]
        gradients[k] = gradient if so_far is None else so_far if gradient is None else so_far + gradient


def divide(gradients: Gradients, scale: float) -> Gradients:
    """``gradients`` without a ``scale`` that losses were multiplied by; themselves where it is 1."""
    return gradients if scale == 1 else [None if gradient is None else gradient / scale for gradient in gradients]


def assign(gradients: Gradients, parameters: Sequence[nn.Parameter]) -> None:
    """Puts each gradient into its parameter's ``.grad``."""
    for gradient, parameter in zip(gradients, parameters, strict=True):
        parameter.grad = gradient


class GradientCheck:
    """Looks once at every ``.grad`` of a model: those of an ordinary backward pass, of heads, and of a regularizer too.

    Gradients are of the global batch, so that all processes see the same.
    """

    def __init__(self, owned: Sequence[tuple[str, nn.Parameter]], norms: bool = False) -> None:
        """Looks now, and waits for nothing.

        Args:
            owned: parameters and whose they are.
            norms: a Euclidean norm that is too large for its type counts as not finite, as ``clip`` needs it.
        """
        there = [(owner, p.grad) for owner, p in owned if p.grad is not None and p.grad.numel()]
        self._owners = [owner for owner, _ in there]
        self._gradients = [gradient for _, gradient in there]
        self._norms = list(torch._foreach_norm(self._gradients)) if there else []
        self._bounded = norms

    def clip(self, bound: float) -> Tensor:
        """Scales the gradients so that their global norm is ``bound`` at most, as ``clip_grad_norm_`` does.

        Returns:
            The norm before.
        """
        if not self._gradients:
            return torch.zeros(())
        norm = torch.linalg.vector_norm(torch.stack(self._norms))
        torch._foreach_mul_(self._gradients, (bound / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def read(self, *more: Tensor) -> tuple[list[str], list[float]]:
        """Owners of gradients with an entry that is NaN or infinite, and the values of the scalars ``more``.

        All come to the CPU in one transfer; where a norm is not finite, the entries are looked at in another.
        """
        numbers = [*self._norms, *more]
        values = torch.stack(numbers).cpu().tolist() if numbers else []
        broken = [k for k in range(len(self._norms)) if not math.isfinite(values[k])]
        if broken and not self._bounded:
            ends = torch.stack(extremes([self._gradients[k] for k in broken])).tolist()
            broken = [k for k, end in zip(broken, ends, strict=True) if not math.isfinite(end)]
        return list(dict.fromkeys(self._owners[k] for k in broken)), values[len(self._norms) :]


def extremes(gradients: list[Tensor]) -> list[Tensor]:
    """For each a scalar that is finite if all its entries are: the largest one, by amount or less the least one."""
    if gradients and gradients[0].is_cuda:  # all at once in a few kernels; on a CPU that takes twelve times as long
        return list(torch._foreach_norm(gradients, math.inf))
    ends = [torch.aminmax(gradient) for gradient in gradients]
    return [largest.double() - least.double() for least, largest in ends]


def require_finite(values: Tensor, tasks: tuple[str, ...], what: str, update: int, hint: Callable[[], str]) -> None:
    """Raises FloatingPointError naming the tasks whose entry of ``values`` ((T,)) is NaN or infinite.

    Args:
        values: of each task.
        tasks: their names.
        what: the values are.
        update: number of updates made before.
        hint: is asked then for where it comes from, and what to do about it.
    """
    broken = {name: value for name, value in zip(tasks, values.tolist(), strict=True) if not math.isfinite(value)}
    if broken:
        names = ", ".join(f"{name} ({value})" for name, value in broken.items())
        raise FloatingPointError(f"update {update}: {what} is not finite for task {names}. {hint()}")
