"""Interfaces of the choices that make one update, and the values that pass between them.

T tasks; L_i the loss of task i over its samples of the global batch; g_i its gradient with respect to the shared
parameters; G the T x T Gramian of the rows g_i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


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
        scalars: what a strategy says of itself, by name, e.g. ``pacing``.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    coefficients: Tensor
    weights: Weights
    gramian: Tensor | None = None
    scalars: dict[str, float] = field(default_factory=dict)


class Strategy(nn.Module):
    """A choice that can be named in a config.

    ``defaults`` declares its config keys in lower case with their default values; ``help`` says for each what it means
    (unit, range, symbol in the paper). ``check`` returns complaints about a set of values.
    """

    defaults: ClassVar[dict[str, object]] = {}
    help: ClassVar[dict[str, str]] = {}

    def __init__(self, setup: Setup, **options: Any) -> None:
        """Args: what the method may know of the run, and its ``defaults`` with the values of the config."""
        super().__init__()

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """One sentence for every rule that ``options`` (the keys of ``defaults``) break; empty if none."""
        return []


class Scalarization(Strategy):
    """Turns the task losses into one number S."""

    def forward(self, losses: Tensor, present: Tensor) -> Tensor:
        """S, a scalar.

        Args:
            losses: (T,) raw losses L_i of the global batch; those of absent tasks are to be left out.
            present: (T,) bool.
        """
        raise NotImplementedError


class RowScaling(Strategy):
    """Multiplies each task's gradient, its head's too, by a factor alpha_i."""

    def forward(self, gramian: Tensor, present: Tensor, update: int) -> Tensor:
        """(T,) float64 factors alpha_i.

        Args:
            gramian: (T, T) float64 on the CPU, of the rows c_i g_i; rows of absent tasks are to be left out.
            present: (T,) bool on the CPU.
            update: number of optimizer updates made before this one, >= 0.
        """
        raise NotImplementedError

    def scalars(self, update: int) -> dict[str, float]:
        """Values worth a curve in the logs, by name."""
        return {}


class Aggregator(Strategy):
    """Turns the task gradients into one direction, as weights of the rows.

    Attributes:
        scale: "sum" if the weights of T equal orthonormal rows add up to T, "mean" if they add up to 1. Tells
            ``MTL.GRADIENT.SCALE`` what to multiply by.
    """

    scale: ClassVar[str] = "mean"

    def constant(self, num_tasks: int) -> float | None:
        """The one weight of all rows and heads if it does not depend on the gradients, else None."""
        return None

    def forward(self, gramian: Tensor, present: Tensor) -> Weights:
        """Weights of the rows and of the heads; 0 for absent tasks.

        Args:
            gramian: (T, T) float64 on the CPU.
            present: (T,) bool on the CPU.
        """
        constant = self.constant(len(present))
        if constant is None:
            raise NotImplementedError
        weights = present.double() * constant
        return Weights(weights, weights.clone())


class GradientStage(nn.Module):
    """An optional row scaling, then one aggregator.

    With alpha the factors of the row scaling, the aggregator sees diag(alpha) G diag(alpha); its weights are multiplied
    by alpha, for the heads as well.
    """

    def __init__(self, scaling: RowScaling | None, aggregator: Aggregator, scale: str, num_tasks: int) -> None:
        """Args: see ``MTL.GRADIENT``; ``scale`` is one of "method", "mean", "sum"."""
        super().__init__()
        self.scaling = scaling
        self.aggregator = aggregator
        self.factor = 1.0
        if scale not in ("method", aggregator.scale):
            self.factor = float(num_tasks) if scale == "sum" else 1.0 / num_tasks
        self.num_tasks = num_tasks

    @property
    def constant(self) -> float | None:
        """The factor of all gradients where no gradient need be looked at, else None."""
        constant = self.aggregator.constant(self.num_tasks)
        return None if self.scaling is not None or constant is None else constant * self.factor

    def forward(self, gramian: Tensor, present: Tensor, update: int) -> Weights:
        """Weights for the rows of ``gramian`` ((T, T) float64, CPU); absent tasks get 0."""
        alpha = present.double()
        if self.scaling is not None:
            alpha = self.scaling(gramian, present, update) * alpha
        weights = self.aggregator(alpha[:, None] * gramian * alpha, present)
        alpha = alpha * self.factor
        return Weights(weights.shared * alpha, weights.heads * alpha)

    def scalars(self, update: int) -> dict[str, float]:
        """The scaling's values worth a curve."""
        return {} if self.scaling is None else self.scaling.scalars(update)


def cosines(gramian: Tensor) -> Tensor:
    """(T, T) cosines between the rows of a Gramian; 0 with a row of zeros.

    Args:
        gramian: (T, T) float64, finite.
    """
    norms = gramian.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(norms > 0, 1 / norms, torch.zeros_like(norms))
    # One norm after the other: the product of two tiny norms would underflow.
    return (gramian * inverse[:, None] * inverse).clamp(-1.0, 1.0)


def require_finite(values: Tensor, tasks: tuple[str, ...], what: str, update: int, hint: str) -> None:
    """Raises FloatingPointError naming the tasks whose entry of ``values`` ((T,)) is NaN or infinite."""
    bad = {name: value for name, value in zip(tasks, values.tolist(), strict=True) if not math.isfinite(value)}
    if bad:
        names = ", ".join(f"{name} ({value})" for name, value in bad.items())
        raise FloatingPointError(f"update {update}: {what} is not finite for task {names}. {hint}")
