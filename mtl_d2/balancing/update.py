"""One update: the losses become one number S, the task gradients one direction, and the parameters move along it.

    batch -> groups -> trunk -> heads -> rows g_i -> Gramian G -> weights -> direction -> step

c_i = dS/dL_i; the shared parameters get sum_i a_i c_i g_i and head i gets b_i c_i times its gradient of L_i, with a and
b the weights of the gradient stage for the rows c_i g_i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mtl_d2.balancing.exact.coordinates import coordinates
from mtl_d2.balancing.exact.oracle import Oracle
from mtl_d2.balancing.exact.replay import Replay
from mtl_d2.balancing.exact.rows import TaskGradients, assign, combine, require_finite
from mtl_d2.balancing.exact.whole import blame, one_backward
from mtl_d2.balancing.interfaces import (
    Aggregator,
    Context,
    Gradients,
    Regularizer,
    RowScaling,
    Setup,
    Step,
    Strategy,
    UpdateResult,
    Weights,
)
from mtl_d2.balancing.scalarization import Scalarization


class GradientStage(nn.Module):
    """An optional row scaling, then one aggregator.

    With alpha the factors of the row scaling, the aggregator sees diag(alpha) G diag(alpha) of the present tasks whose
    gradient is not zero, scaled to trace 1; a task without gradient has no say in the direction. Heads get alpha_i
    times the aggregator's constant, or 1 where it has none; with ``heads`` "weights" they get what the rows get.

    With ``smooth`` m > 0 the weights are running averages, m times the last ones plus 1 - m times the aggregator's
    (CR-MOGM: Zhou et al., On the Convergence of Stochastic Multi-Objective Gradient Manipulation and Beyond, NeurIPS
    2022). A task's first weight is taken as it is, and kept while it is absent.
    """

    smoothed: Tensor

    def __init__(
        self,
        scaling: RowScaling | None,
        aggregator: Aggregator,
        scale: str,
        num_tasks: int,
        heads: str = "method",
        smooth: float = 0.0,
    ) -> None:
        """Args: see ``MTL.GRADIENT``; ``scale`` is "method", "mean" or "sum", ``heads`` is "method" or "weights"."""
        super().__init__()
        self.scaling = scaling
        self.aggregator = aggregator
        self.constant = aggregator.constant(num_tasks)
        self.factor = 1.0
        if scale not in ("method", aggregator.scale):
            self.factor = float(num_tasks) if scale == "sum" else 1.0 / num_tasks
        self.weigh_heads = heads == "weights"
        self.smooth = smooth
        if smooth:
            self.register_buffer("smoothed", torch.full((num_tasks,), torch.inf, dtype=torch.float64))  # inf: none yet

    def needs_rows(self, update: int) -> bool:
        """Whether the weights of this update depend on its gradients; if not, heads get what rows get."""
        return self.constant is None or (self.scaling is not None and self.scaling.needs_rows(update))

    def forward(self, gramian: Tensor | None, context: Context) -> Weights:
        """Weights for the rows of ``gramian`` ((T, T) float64, CPU, None if not needed); absent tasks get 0."""
        alpha = present = context.present.double()
        if self.scaling is not None:
            seen = gramian if self.scaling.needs_rows(context.update) else None  # may be there for others' sake
            alpha = self.scaling(seen, context) * present
        if self.constant is not None or gramian is None:
            weights = present * (self.constant or 0.0)
        else:
            if context.rows is not None:
                context = replace(context, rows=alpha[:, None] * context.rows)
            weights = self._aggregate(alpha[:, None] * gramian * alpha, context)
        alpha = alpha * self.factor
        constant = 1.0 if self.constant is None else self.constant
        heads = weights if self.weigh_heads else torch.full_like(weights, constant)
        return Weights(weights * alpha, heads * alpha)

    def _aggregate(self, gramian: Tensor, context: Context) -> Tensor:
        moving = context.present & (gramian.diagonal() > 0)
        weights = torch.zeros(len(gramian), dtype=torch.float64)
        if moving.any():
            chosen, gramian = context.of(moving), gramian[moving][:, moving]
            trace = gramian.trace()
            chosen = replace(chosen, trace=float(trace))
            if self.aggregator.takes_coordinates:
                rows = coordinates(gramian) if chosen.rows is None else chosen.rows
                chosen = replace(chosen, rows=rows / trace.sqrt())
            weights[moving] = self._smooth(self.aggregator(gramian / trace, chosen), moving)
        return weights

    def _smooth(self, weights: Tensor, moving: Tensor) -> Tensor:
        """Running averages of the ``weights`` of the tasks that are ``moving``."""
        if self.smooth:
            last = self.smoothed[moving]
            weights = torch.where(last.isinf(), weights, self.smooth * last + (1 - self.smooth) * weights)
            self.smoothed[moving] = weights
        return weights

    def combine(self, rows: list[Gradients], weights: list[float], context: Context) -> Gradients:
        """The direction sum_i weights_i rows_i, or an elementwise aggregator's; see ``Aggregator.combine``."""
        if self.aggregator.elementwise:
            return self.aggregator.combine(rows, weights, context)
        return combine(rows, weights)


class Balancer(nn.Module):
    """Scalarization, gradient stage, regularizer and step of a training.

    Its parameters and buffers are the methods' whole state.
    """

    def __init__(
        self,
        setup: Setup,
        scalarization: Scalarization,
        gradient: GradientStage,
        step: Step,
        regularizer: Regularizer | None = None,
        seed: int = 0,
        level: str = "all",
        exact_every: int = 0,
    ) -> None:
        """Args are the built choices.

        Args:
            setup: what they were built for.
            scalarization: makes S of the losses.
            gradient: makes weights of the task gradients.
            step: says where gradients are taken.
            regularizer: adds to the objective, or None.
            seed: keys the draws.
            level: what the Gramian is taken of: "all" shared parameters, the "last_layer" of them, or the "features".
            exact_every: take the exact gradients every so many updates at least, for the logs; 0 for never.
        """
        super().__init__()
        self.setup = setup
        self.scalarization = scalarization
        self.gradient = gradient
        self.step = step
        self.regularizer = regularizer
        self.seed = seed
        self.level = level
        self.exact_every = exact_every

    def forward(self, oracle: Oracle, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Makes one update.

        Args:
            oracle: gives the losses and gradients of this batch.
            update: number of optimizer updates made before this one.
            apply: moves all parameters that have a ``.grad``: unscales, clips, steps.

        Raises:
            FloatingPointError: a task's loss or gradient is not finite; nothing has been moved.
        """
        together = self.step.moves == 1
        replay = None if together and self.regularizer is None else Replay(oracle.model)
        if together and not self.needs_rows(update, oracle.accumulate):
            result = self._one_backward(oracle, update)
        else:
            gradients = self._task_gradients(oracle, update, replay)
            result = self._weigh(gradients, oracle, update)
            assign(self._direction(gradients, result, oracle), oracle.shared)
            if together:
                self._fill_heads(gradients, result, oracle)
        if self.regularizer is not None and replay is not None:
            self._regularize(self.regularizer, oracle, result, replay, together)
        apply()
        if not together and replay is not None:
            self._move_heads(oracle, result, replay, apply)
        self.scalarization.weighting.observe(result)
        for method in self.methods():
            result.scalars |= method.scalars()
        return result

    def methods(self) -> Iterator[Strategy]:
        """The choices that it is made of."""
        stage = self.gradient
        for method in (stage.scaling, stage.aggregator, self.scalarization.weighting, self.step, self.regularizer):
            if method is not None:
                yield method

    def on_evaluation(self, results: Mapping[str, Mapping[str, float]]) -> None:
        """Shows the methods the metrics of the held-out images; see ``Strategy.on_evaluation``."""
        for method in self.methods():
            method.on_evaluation(results)

    def needs_rows(self, update: int, accumulate: int = 1) -> bool:
        """Whether an update of so many micro-batches has to take each task's gradient on its own.

        With several of them one backward pass is not enough where c depends on the losses: they are known only after
        the last one, when the graphs of the others are gone.
        """
        early = accumulate > 1 and self.scalarization.needs_losses
        methods = self.gradient.needs_rows(update) or self.scalarization.weighting.needs_rows
        return early or methods or self.logs_angles(update)

    def logs_angles(self, update: int) -> bool:
        """Whether the logs ask for the exact gradients of an update, whatever its methods need."""
        return self.exact_every > 0 and update % self.exact_every == 0

    def context(self, losses: Tensor, present: Tensor, update: int) -> Context:
        """What methods see of this update; draws are keyed by (seed, update)."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + update) % 2**63)
        return Context(update, losses, present, generator)

    def _task_gradients(self, oracle: Oracle, update: int, replay: Replay | None) -> TaskGradients:
        """The gradients that the weights of this update need; their losses may be still to be read."""
        if self.step.several_points and replay is not None:
            return self.step.gradients(oracle, replay)
        if oracle.accumulate == 1 and not self.needs_rows(update):  # of more, all graphs would be kept till the end
            return oracle.feature_gradients(products=False)
        if self.level == "features" and not self.logs_angles(update):
            return oracle.feature_gradients()
        return oracle.row_gradients(parts=not self.gradient.aggregator.elementwise, features=self.level == "features")

    def _coefficients(self, context: Context) -> Tensor:
        """(T,) c_i; the scalarization's own parameters get dS/ds into their ``.grad``."""
        constant = self.scalarization.constant
        return self.scalarization.coefficients(context) if constant is None else constant * context.present

    def _weigh(self, gradients: TaskGradients, oracle: Oracle, update: int) -> UpdateResult:
        """C and the weights of the task gradients.

        Raises:
            FloatingPointError: a gradient is not finite.
        """
        gramians = oracle.read(gradients, self.level == "last_layer" or self.scalarization.weighting.needs_rows)
        context = self.context(gradients.losses, gradients.present, update)
        c = self._coefficients(context)
        exact, G = gramians.get("all"), gramians.get(self.level)
        if G is not None:
            what = "the squared gradient norm"
            require_finite(G.diagonal(), self.setup.tasks, what, update, partial(blame, oracle))
            if self.gradient.aggregator.takes_coordinates:
                context = replace(context, rows=c[:, None] * gradients.coordinates(G, self.level, oracle.last_layer))
        weights = self.gradient(None if G is None else c[:, None] * G * c, context)
        rows = context.rows if G is exact else None
        weights.shared = self._shortened(weights.shared, None if exact is None else c[:, None] * exact * c, rows)
        result = UpdateResult(gradients.terms, context.losses, context.present, c, weights, exact, update=update)
        result.level_gramian, result.start_losses = None if G is exact else G, gradients.start_losses
        if "last_layer" in gramians:
            result.last_layer_norms = gramians["last_layer"].diagonal().sqrt()
        return result

    def _shortened(self, weights: Tensor, gramian: Tensor | None, rows: Tensor | None) -> Tensor:
        """The ``weights`` of rows with this Gramian, and coordinates if they are known, within the method's bound."""
        bound = self.gradient.aggregator.max_norm
        if not bound or gramian is None:
            return weights
        length = float((weights @ gramian @ weights).clamp(min=0).sqrt() if rows is None else (weights @ rows).norm())
        return weights * (bound / length) if length > bound else weights

    def _direction(self, gradients: TaskGradients, result: UpdateResult, oracle: Oracle) -> Gradients:
        """The gradient of the shared parameters that ``result`` weighs together; frees the rows."""
        weights = (result.weights.shared * result.coefficients).tolist()
        if not gradients.rows:
            return oracle.one_trunk_backward(gradients, weights)
        context = self.context(gradients.losses, gradients.present, result.update)
        return gradients.exchange.gather(self.gradient.combine(gradients.rows, weights, context))

    def _fill_heads(self, gradients: TaskGradients, result: UpdateResult, oracle: Oracle) -> None:
        """Puts each present task's weighted head gradient into ``.grad``."""
        factors = (result.weights.heads * result.coefficients).tolist()
        for i in result.present.nonzero().flatten().tolist():
            assign(combine([gradients.heads[i]], [factors[i]]), oracle.heads[i])

    def _move_heads(self, oracle: Oracle, result: UpdateResult, replay: Replay, apply: Callable[[], None]) -> None:
        """The second move, at the new shared parameters."""
        for parameter in self.scalarization.parameters():
            parameter.grad = None  # has moved
        with replay.again():
            gradients = oracle.head_gradients()
        self._fill_heads(gradients, result, oracle)
        apply()

    def _regularize(
        self, regularizer: Regularizer, oracle: Oracle, result: UpdateResult, replay: Replay, heads: bool
    ) -> None:
        """Adds the regularizer's gradient to every ``.grad`` of the shared parameters, and of the heads if asked."""
        shared, head_gradients = regularizer.gradient(oracle, result, replay)
        pairs = list(zip(oracle.shared, shared, strict=True))
        for parameters, gradients in zip(oracle.heads, head_gradients, strict=True) if heads else ():
            pairs += list(zip(parameters, gradients, strict=True))
        for parameter, gradient in pairs:
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def _one_backward(self, oracle: Oracle, update: int) -> UpdateResult:
        """The update's gradients by one ordinary backward pass, where no gradient need be looked at."""
        results: list[UpdateResult] = []

        def factors(losses: Tensor, present: Tensor) -> Tensor:
            context = self.context(losses, present, update)
            c = self._coefficients(context)
            weights = results[-1].weights if results else self.gradient(None, context)
            results.append(UpdateResult({}, losses, present, c, weights, update=update))
            return c * weights.shared

        gradients = one_backward(oracle, factors)
        results[-1].terms = gradients.terms
        return results[-1]
