"""One update, made of the choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import Context, Gradients, Setup, UpdateResult, combine, require_finite
from mtl_d2.balancing.finite import blame
from mtl_d2.balancing.jacobian import Oracle, TaskGradients, assign
from mtl_d2.balancing.replay import Replay
from mtl_d2.balancing.strategies import GradientStage, Regularizer, Scalarization, Step


class Balancer(nn.Module):
    """Scalarization, gradient stage and step of a training.

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
            gradient: makes a direction of the task gradients.
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

    def needs_whole_rows(self) -> bool:
        """Whether every process has to see all elements of the task gradients, and not the Gramian of all of them."""
        return self.gradient.aggregator.elementwise or self.step.several_points

    def gradients(self, oracle: Oracle, update: int) -> TaskGradients:
        """The task gradients that the weights of this update need: of the parameters, or of the features alone.

        The losses are still to be read.
        """
        exact = self.level != "features" or self.logs_angles(update)
        rows = "rows" if self.needs_whole_rows() else "parts"
        return oracle.gradients(trunk=rows if exact else "later", features=self.level == "features", read=False)

    def forward(self, oracle: Oracle, update: int, apply: Callable[[], None]) -> UpdateResult:
        """Makes one update.

        Args:
            oracle: gives the losses and gradients of this batch.
            update: number of optimizer updates made before this one.
            apply: moves all parameters that have a ``.grad``: unscales, clips, steps.

        Raises:
            FloatingPointError: a task's loss or gradient is not finite; nothing has been moved.
        """
        result = self.step(oracle, self, update, apply)
        self.scalarization.weighting.observe(result)
        for part in (self.gradient, self.scalarization.weighting, self.step, self.regularizer):
            if part is not None:
                result.scalars |= part.scalars()
        return result

    def context(self, losses: Tensor, present: Tensor, update: int) -> Context:
        """What strategies see of this update; draws are keyed by (seed, update)."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + update) % 2**63)
        return Context(update, losses, present, generator)

    def coefficients(self, losses: Tensor, context: Context) -> Tensor:
        """(T,) c_i = dS/dL_i; the scalarization's own parameters get dS/ds into their ``.grad``."""
        own = [p for p in self.scalarization.parameters() if p.requires_grad]
        leaf = losses.clone().requires_grad_()
        total = self.scalarization(leaf, context)
        if not total.requires_grad:
            return torch.zeros_like(losses)
        c, *rest = torch.autograd.grad(total, [leaf, *own], allow_unused=True)
        assign(list(rest), own)
        return torch.zeros_like(losses) if c is None else c

    def weigh(self, found: TaskGradients, oracle: Oracle, update: int) -> UpdateResult:
        """C and the weights for gradients that have been taken; fills ``.grad`` of the scalarization alone.

        Raises:
            FloatingPointError: a gradient is not finite.
        """
        last = self.level == "last_layer" or self.scalarization.weighting.needs_rows
        gramians = oracle.read(found, last)
        context = self.context(found.losses, found.present, update)
        c = self.coefficients(found.losses, context)
        exact, G = gramians.get("all"), gramians[self.level]
        what = "the squared gradient norm"
        require_finite(G.diagonal(), self.setup.tasks, what, update, partial(blame, oracle))
        if self.gradient.aggregator.takes_coordinates:
            context = replace(context, rows=c[:, None] * found.coordinates(G, self.level, oracle.last_layer))
        weights = self.gradient(c[:, None] * G * c, context)
        result = UpdateResult(found.terms, found.losses, found.present, c, weights, exact, update=update)
        result.level_gramian, result.start_losses = None if G is exact else G, found.start_losses
        if "last_layer" in gramians:
            result.last_layer_norms = gramians["last_layer"].diagonal().sqrt()
        return result

    def direction(self, found: TaskGradients, result: UpdateResult, oracle: Oracle) -> Gradients:
        """The gradient of the shared parameters that ``result`` weighs together; frees the rows."""
        weights = (result.weights.shared * result.coefficients).tolist()
        if not found.rows:
            return oracle.one_trunk_backward(found, weights)
        context = self.context(found.losses, found.present, result.update)
        return found.exchange.gather(self.gradient.combine(found.rows, weights, context))

    def fill_heads(self, heads: list[Gradients], oracle: Oracle, result: UpdateResult) -> None:
        """Puts each present task's weighted head gradient into ``.grad``."""
        factors = (result.weights.heads * result.coefficients).tolist()
        for own, parameters, factor, here in zip(heads, oracle.heads, factors, result.present.tolist(), strict=True):
            if here:
                assign(combine([own], [factor]), parameters)

    def replay(self, oracle: Oracle) -> Replay | None:
        """To be asked for before an update's first pass: what a regularizer's passes are to see."""
        return None if self.regularizer is None else Replay(oracle.model)

    def regularize(self, oracle: Oracle, result: UpdateResult, replay: Replay | None, heads: bool) -> None:
        """Adds the regularizer's gradient to every ``.grad`` of the shared parameters, and of the heads if asked."""
        if self.regularizer is None or replay is None:
            return
        shared, own = self.regularizer.gradient(oracle, result, replay)
        pairs = list(zip(oracle.shared, shared, strict=True))
        for parameters, gradients in zip(oracle.heads, own, strict=True) if heads else ():
            pairs += list(zip(parameters, gradients, strict=True))
        for parameter, gradient in pairs:
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def backward_once(self, oracle: Oracle, update: int) -> UpdateResult:
        """The update's gradients by one ordinary backward pass, where no gradient need be looked at."""
        scored: list[UpdateResult] = []

        def factors(losses: Tensor, present: Tensor) -> Tensor:
            context = self.context(losses, present, update)
            c = self.coefficients(losses, context)
            weights = scored[-1].weights if scored else self.gradient(None, context)
            scored.append(UpdateResult({}, losses, present, c, weights, update=update))
            return c * weights.shared

        found = oracle.one_backward(factors)
        result = scored[-1]
        result.terms = found.terms
        return result
