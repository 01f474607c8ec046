"""The kinds of strategy that an update is made of, and how they go together.

T tasks; L_i the loss of task i over its samples of the global batch; g_i its gradient with respect to the shared
parameters; G the T x T Gramian of the rows g_i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Context, Gradients, Setup, UpdateResult, Weights, combine
from mtl_d2.balancing.coordinates import coordinates

if TYPE_CHECKING:
    from mtl_d2.balancing.balancer import Balancer
    from mtl_d2.balancing.jacobian import Oracle
    from mtl_d2.balancing.replay import Replay


class Strategy(nn.Module):
    """A choice that can be named in a config.

    ``defaults`` declares its config keys in lower case with their default values; ``help`` says for each what it means
    (unit, range, symbol in the paper). ``check`` returns complaints about a set of values. ``scaling`` has the rule of
    ``mtl_d2.balancing.counting`` for each key that belongs to updates, by which it follows the number of processes.
    """

    defaults: ClassVar[dict[str, object]] = {}
    help: ClassVar[dict[str, str]] = {}
    scaling: ClassVar[dict[str, Callable[[Any, float], Any]]] = {}

    def __init__(self, setup: Setup, **options: Any) -> None:
        """Args: what the method may know of the run, and its ``defaults`` with the values of the config."""
        super().__init__()

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """One sentence for every rule that ``options`` (the keys of ``defaults``) break; empty if none."""
        return []

    @classmethod
    def is_neutral(cls, options: Mapping[str, Any]) -> bool:
        """Whether the update is the same without it, with these values of ``defaults``: tables say so."""
        return False


class Weighting(Strategy):
    """Gives each task loss its weight in S. Its parameters are trained on plain dS/ds.

    Attributes:
        geometric: whether the weights may be exponents of a geometric mean.
        normalized: whether they are divided by their sum there.
        needs_rows: whether ``observe`` needs gradient norms, so that every update takes the per-task path.
        needs_losses: whether the weights of an update may depend on its own losses, so that an update of several
            micro-batches takes the per-task path.
    """

    geometric: bool = True
    normalized: bool = True
    needs_rows: bool = False
    needs_losses: bool = True

    @classmethod
    def needs_evaluation(cls, options: Mapping[str, object]) -> bool:
        """Whether it takes accuracies from evaluations during training, with these values of ``defaults``."""
        return False

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
        """Sees the metrics of the held-out images, ``{"bbox": {"AP": ...}, ...}``, the same on every process."""

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

    @property
    def needs_losses(self) -> bool:
        """Whether dS/dL_i depends on the losses of the same update."""
        return self.geometric or self.weighting.needs_losses

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
            weights = weights / weights.sum().clamp(min=1e-300)  # all 0: S is 1, and moves nothing
        return torch.exp((weights * losses.log()).sum())


class RowScaling(Strategy):
    """Multiplies each task's gradient, its head's too, by a factor alpha_i."""

    def needs_rows(self, update: int) -> bool:
        """Whether the factors of this update depend on its gradients."""
        return True

    def forward(self, gramian: Tensor | None, context: Context) -> Tensor:
        """(T,) float64 factors alpha_i; those of absent tasks are not used.

        Args:
            gramian: (T, T) float64 on the CPU, of the rows c_i g_i; rows of absent tasks are to be left out. None in an
                update for which ``needs_rows`` says no.
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
        elementwise: whether ``combine`` looks at the rows, so that their Gramian is not enough.
        takes_coordinates: whether ``forward`` wants ``context.rows``, which tell small differences between gradients.
    """

    scale: ClassVar[str] = "mean"
    elementwise: ClassVar[bool] = False
    takes_coordinates: ClassVar[bool] = False

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

    def needs_rows(self, update: int) -> bool:
        """Whether the weights of this update depend on its gradients; if not, heads get what rows get."""
        own = self.aggregator.constant(self.num_tasks) is None
        return own or (self.scaling is not None and self.scaling.needs_rows(update))

    def forward(self, gramian: Tensor | None, context: Context) -> Weights:
        """Weights for the rows of ``gramian`` ((T, T) float64, CPU, None if not needed); absent tasks get 0."""
        alpha = context.present.double()
        if self.scaling is not None:
            alpha = self.scaling(gramian, context) * alpha
        constant = self.aggregator.constant(self.num_tasks)
        if constant is not None or gramian is None:
            weights = context.present.double() * (constant or 0.0)
        else:
            if context.rows is not None:
                context = replace(context, rows=alpha[:, None] * context.rows)
            weights = self._aggregate(alpha[:, None] * gramian * alpha, context)
        alpha = alpha * self.factor
        heads = weights if self.weigh_heads else torch.full_like(weights, 1.0 if constant is None else constant)
        return Weights(weights * alpha, heads * alpha)

    def _aggregate(self, gramian: Tensor, context: Context) -> Tensor:
        moving = context.present & (gramian.diagonal() > 0)
        weights = torch.zeros(len(gramian), dtype=torch.float64)
        if moving.any():
            chosen, gramian = context.of(moving), gramian[moving][:, moving]
            trace = gramian.trace()
            if self.aggregator.takes_coordinates:
                rows = coordinates(gramian) if chosen.rows is None else chosen.rows
                chosen = replace(chosen, rows=rows / trace.sqrt())
            weights[moving] = self.aggregator(gramian / trace, chosen)
        return weights

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """See ``Aggregator.combine``."""
        return self.aggregator.combine(rows, weights, context)

    def scalars(self) -> dict[str, float]:
        """The scaling's values worth a curve."""
        return {} if self.scaling is None else self.scaling.scalars()


class Regularizer(Strategy):
    """A term of the objective that belongs to no task.

    Attributes:
        needs_last_layer: whether it looks at gradients of the last shared layer.
    """

    needs_last_layer: ClassVar[bool] = False

    @classmethod
    def differentiates_twice(cls, options: Mapping[str, Any]) -> bool:
        """Whether it needs second derivatives of the network, with these values of ``defaults``."""
        return False

    def gradient(self, oracle: Oracle, result: UpdateResult, replay: Replay) -> tuple[Gradients, list[Gradients]]:
        """Its gradient at the present parameters, for the shared parameters and for each head.

        Args:
            oracle: with the batch of this update.
            result: of this update so far: which tasks are present, and their losses.
            replay: makes its passes see what the update's first pass saw.
        """
        raise NotImplementedError

    def scalars(self) -> dict[str, float]:
        """Values of the last update worth a curve in the logs, by name."""
        return {}


class Step(Strategy):
    """Says where gradients are taken and in which order theta and the heads move.

    Attributes:
        several_points: whether the tasks' gradients are taken at different points.
        moves: how often an update moves parameters.
    """

    several_points: ClassVar[bool] = False
    moves: ClassVar[int] = 1

    def forward(self, oracle: Oracle, balancer: Balancer, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Makes one update; see ``Balancer.forward``."""
        raise NotImplementedError

    def scalars(self) -> dict[str, float]:
        """Values of the last update worth a curve in the logs, by name."""
        return {}
