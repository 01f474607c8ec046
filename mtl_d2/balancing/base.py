"""Interfaces of the choices that make one update, and the values that pass between them.

T tasks; L_i the loss of task i over its samples of the global batch; g_i its gradient with respect to the shared
parameters; G the T x T Gramian of the rows g_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Gradients = list[Tensor | None]  # one for each of a list of parameters, None where there is no gradient


@dataclass(frozen=True)
class Setup:
    """What every strategy may know of the run it works in.

    Attributes:
        tasks: names of the T tasks, in the order of all (T,) vectors.
        total_updates: number of optimizer updates of the whole training, > 0.
    """

    tasks: tuple[str, ...]
    total_updates: int

    @property
    def num_tasks(self) -> int:
        """T."""
        return len(self.tasks)


@dataclass(frozen=True)
class Context:
    """What strategies see of the update that is being made.

    Attributes:
        update: number of optimizer updates made before this one, >= 0.
        losses: (T,) float64 raw losses of the global batch, on the CPU; 0 where absent.
        present: (T,) bool, on the CPU.
        generator: on the CPU, the same on every process, keyed by seed and update.
        indices: places of these tasks among all, where the context is of some of them.
        rows: (T, r) float64 on the CPU, coordinates of the task gradients in an orthonormal basis of their span, or
            None where only their Gramian is known: what nearly parallel gradients differ in has more digits here. An
            ``Aggregator`` that ``takes_coordinates`` always has them.
    """

    update: int
    losses: Tensor
    present: Tensor
    generator: torch.Generator
    indices: tuple[int, ...] = ()
    rows: Tensor | None = None

    def of(self, chosen: Tensor) -> Context:
        """The context of the tasks that ``chosen`` ((T,) bool) marks."""
        indices = tuple(chosen.nonzero().flatten().tolist())
        rows = None if self.rows is None else self.rows[chosen]
        return replace(self, losses=self.losses[chosen], present=self.present[chosen], indices=indices, rows=rows)


@dataclass
class Weights:
    """Factors of one update.

    Attributes:
        shared: (T,) float64 on the CPU; the shared parameters get sum_i shared_i g_i.
        heads: (T,) float64 on the CPU; head i gets heads_i times the gradient of L_i.
    """

    shared: Tensor
    heads: Tensor


@dataclass
class UpdateResult:
    """What one update did, for the logs. Every value is on the CPU.

    Attributes:
        terms: the terms of the task losses by name, averaged over ranks.
        losses: (T,) raw task losses L_i, averaged over ranks, 0 where absent.
        present: (T,) bool, True where some rank had a sample of the task.
        coefficients: (T,) c_i = dS/dL_i.
        weights: what the gradient stage answered, without c.
        gramian: (T, T) of the raw rows g_i, or None where the update needed no rows.
        level_gramian: (T, T) that the weights were taken from, where it was not ``gramian``.
        last_layer_norms: (T,) norms of the raw gradients at the last shared layer, or None likewise.
        update: number of updates made before.
        start_losses: (T,) as ``losses``, at the parameters that the update started from, where those are of others.
        scalars: what a strategy says of itself, by name, e.g. ``pacing``.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    coefficients: Tensor
    weights: Weights
    gramian: Tensor | None = None
    last_layer_norms: Tensor | None = None
    level_gramian: Tensor | None = None
    update: int = 0
    start_losses: Tensor | None = None
    scalars: dict[str, float] = field(default_factory=dict)


def combine(rows: list[Gradients], weights: list[float]) -> Gradients:
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


def cosines(gramian: Tensor) -> Tensor:
    """(T, T) cosines between the rows of a Gramian; 0 with a row of zeros.

    Args:
        gramian: (T, T) float64, finite.
    """
    norms = gramian.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(norms > 0, 1 / norms, torch.zeros_like(norms))
    # One norm after the other: the product of two tiny norms would underflow.
    return (gramian * inverse[:, None] * inverse).clamp(-1.0, 1.0)


def require_finite(values: Tensor, tasks: tuple[str, ...], what: str, update: int, hint: Callable[[], str]) -> None:
    """Raises FloatingPointError naming the tasks whose entry of ``values`` ((T,)) is NaN or infinite.

    Args:
        values: of each task.
        tasks: their names.
        what: the values are.
        update: number of updates made before.
        hint: is asked then for where it comes from, and what to do about it.
    """
    bad = {name: value for name, value in zip(tasks, values.tolist(), strict=True) if not math.isfinite(value)}
    if bad:
        names = ", ".join(f"{name} ({value})" for name, value in bad.items())
        raise FloatingPointError(f"update {update}: {what} is not finite for task {names}. {hint()}")
