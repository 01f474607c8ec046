"""Interfaces of the choices that make one update, and the values that pass between them.

T tasks; L_i the loss of task i over its samples of the global batch; g_i its gradient with respect to the shared
parameters; G the T x T Gramian of the rows g_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mtl_d2.balancing.balancer import Balancer
    from mtl_d2.balancing.jacobian import Oracle

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
    """

    update: int
    losses: Tensor
    present: Tensor
    generator: torch.Generator
    indices: tuple[int, ...] = ()

    def of(self, chosen: Tensor) -> Context:
        """The context of the tasks that ``chosen`` ((T,) bool) marks."""
        indices = tuple(chosen.nonzero().flatten().tolist())
        return replace(self, losses=self.losses[chosen], present=self.present[chosen], indices=indices)


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
        last_layer_norms: (T,) norms of the raw gradients at the last shared layer, or None likewise.
        update: number of updates made before.
        scalars: what a strategy says of itself, by name, e.g. ``pacing``.
    """

    terms: dict[str, float]
    losses: Tensor
    present: Tensor
    coefficients: Tensor
    weights: Weights
    gramian: Tensor | None = None
    last_layer_norms: Tensor | None = None
    update: int = 0
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


class Weighting(Strategy):
    """Gives each task loss its weight in S. Its parameters are trained on plain dS/ds.

    Attributes:
        geometric: whether the weights may be exponents of a geometric mean.
        normalized: whether they are divided by their sum there.
        needs_rows: whether ``observe`` needs gradient norms, so that every update takes the per-task path.
    """

    geometric: bool = True
    normalized: bool = True
    needs_rows: bool = False

    def forward(self, context: Context) -> Tensor:
        """(T,) float64 weights w_i on the CPU; entries of absent tasks are not used.

        They are constants for the losses; a weight that depends on parameters of this module carries their graph.
        """
        raise NotImplementedError

    def offset(self, present: Tensor) -> Tensor:
        """A scalar added to S for the weighting's own parameters, over the present tasks ((T,) bool)."""
        return torch.zeros((), dtype=torch.float64)

    def observe(self, result: UpdateResult) -> None:
        """Sees what an update did, after it: losses, gradient norms."""

    def on_evaluation(self, results: Mapping[str, Mapping[str, float]]) -> None:
        """Sees the metrics of an evaluation, ``{"bbox": {"AP": ...}, ...}``, the same on every process."""

    def scalars(self) -> dict[str, float]:
        """Values worth a curve in the logs, by name."""
        return {}


class Scalarization(nn.Module):
    """S: a weighted arithmetic or geometric mean of the losses of the present tasks.

    arithmetic: S = sum_i w_i L_i + offset
    geometric:  S = exp(sum_i w_i log L_i), w divided by its sum over the present tasks unless the weighting says not
    """

    def __init__(self, weighting: Weighting, geometric: bool) -> None:
        """Args: ``weighting`` gives w; ``geometric`` chooses the mean."""
        super().__init__()
        self.weighting = weighting
        self.geometric = geometric

    def forward(self, losses: Tensor, context: Context) -> Tensor:
        """S, a scalar, of ``losses`` ((T,) float64 on the CPU, a leaf).

        Raises:
            ValueError: a geometric mean meets a loss <= 0.
        """
        present = context.present
        weights, losses = self.weighting(context)[present], losses[present]
        if not self.geometric:
            return (weights * losses).sum() + self.weighting.offset(present)
        if (losses <= 0).any():
            raise ValueError(
                f"a geometric mean needs losses > 0, got {losses.tolist()} in update {context.update}; "
                "set MTL.SCALARIZATION.MEAN to 'arithmetic'"
            )
        if self.weighting.normalized:
            weights = weights / weights.sum()
        return torch.exp((weights * losses.log()).sum())


class RowScaling(Strategy):
    """Multiplies each task's gradient, its head's too, by a factor alpha_i."""

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(T,) float64 factors alpha_i; those of absent tasks are not used.

        Args:
            gramian: (T, T) float64 on the CPU, of the rows c_i g_i; rows of absent tasks are to be left out.
            context: says which tasks are present, and which update this is.
        """
        raise NotImplementedError

    def scalars(self) -> dict[str, float]:
        """Values of the last update worth a curve in the logs, by name."""
        return {}


class Aggregator(Strategy):
    """Turns the task gradients into one direction, as weights of the rows.

    Attributes:
        scale: "sum" if the weights of T equal orthonormal rows add up to T, "mean" if they add up to 1; tells
            ``MTL.GRADIENT.SCALE`` what to multiply by.
    """

    scale: ClassVar[str] = "mean"

    def constant(self, num_tasks: int) -> float | None:
        """The one weight of all rows and heads if it does not depend on the gradients, else None."""
        return None

    def forward(self, gramian: Tensor, context: Context) -> Tensor:
        """(K,) float64 weights of the rows.

        Args:
            gramian: (K, K) float64 on the CPU with trace 1: of the K >= 1 rows of tasks that are present and have a
                gradient that is not zero, after c and the row scaling.
            context: of these K tasks (``context.indices`` are their places among the T).
        """
        raise NotImplementedError

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """The direction, parameter by parameter: sum_i weights_i rows_i; the rows are freed.

        Args:
            rows: T lists with one tensor for each shared parameter, or None where a task does not reach it.
            weights: T factors, those of absent tasks 0.
            context: of the update.
        """
        return combine(rows, weights)


class GradientStage(nn.Module):
    """An optional row scaling, then one aggregator.

    With alpha the factors of the row scaling, the aggregator sees diag(alpha) G diag(alpha) of the present tasks whose
    gradient is not zero, scaled to trace 1; a task without gradient has no say in the direction. Heads get alpha_i
    times the aggregator's constant, or 1 where it has none; with ``heads`` "weights" they get what the rows get.
    """

    def __init__(
        self, scaling: RowScaling | None, aggregator: Aggregator, scale: str, num_tasks: int, heads: str = "method"
    ) -> None:
        """Args: see ``MTL.GRADIENT``; ``scale`` is "method", "mean" or "sum", ``heads`` is "method" or "weights"."""
        super().__init__()
        self.scaling = scaling
        self.aggregator = aggregator
        self.factor = 1.0
        if scale not in ("method", aggregator.scale):
            self.factor = float(num_tasks) if scale == "sum" else 1.0 / num_tasks
        self.num_tasks = num_tasks
        self.weigh_heads = heads == "weights"

    @property
    def constant(self) -> float | None:
        """The factor of all gradients where no gradient need be looked at, else None."""
        constant = self.aggregator.constant(self.num_tasks)
        return None if self.scaling is not None or constant is None else constant * self.factor

    def forward(self, gramian: Tensor, context: Context) -> Weights:
        """Weights for the rows of ``gramian`` ((T, T) float64, CPU); absent tasks get 0."""
        alpha = context.present.double()
        if self.scaling is not None:
            alpha = self.scaling(gramian, context) * alpha
        constant = self.aggregator.constant(self.num_tasks)
        if constant is not None:
            weights = context.present.double() * constant
        else:
            weights = self._aggregate(alpha[:, None] * gramian * alpha, context)
        alpha = alpha * self.factor
        heads = weights if self.weigh_heads else torch.full_like(weights, 1.0 if constant is None else constant)
        return Weights(weights * alpha, heads * alpha)

    def _aggregate(self, gramian: Tensor, context: Context) -> Tensor:
        moving = context.present & (gramian.diagonal() > 0)
        weights = torch.zeros(len(gramian), dtype=torch.float64)
        if moving.any():
            rows = gramian[moving][:, moving]
            weights[moving] = self.aggregator(rows / rows.trace(), context.of(moving))
        return weights

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """See ``Aggregator.combine``."""
        return self.aggregator.combine(rows, weights, context)

    def scalars(self) -> dict[str, float]:
        """The scaling's values worth a curve."""
        return {} if self.scaling is None else self.scaling.scalars()


class Step(Strategy):
    """Says where gradients are taken and in which order theta and the heads move."""

    def forward(self, oracle: Oracle, balancer: Balancer, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Makes one update; see ``Balancer.forward``."""
        raise NotImplementedError


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


def require_finite(values: Tensor, tasks: tuple[str, ...], what: str, update: int, hint: str) -> None:
    """Raises FloatingPointError naming the tasks whose entry of ``values`` ((T,)) is NaN or infinite."""
    bad = {name: value for name, value in zip(tasks, values.tolist(), strict=True) if not math.isfinite(value)}
    if bad:
        names = ", ".join(f"{name} ({value})" for name, value in bad.items())
        raise FloatingPointError(f"update {update}: {what} is not finite for task {names}. {hint}")
