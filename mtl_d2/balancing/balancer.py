"""One update, made of the choices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mtl_d2.balancing.base import (
    Context,
    Gradients,
    GradientStage,
    Scalarization,
    Setup,
    Step,
    UpdateResult,
    combine,
    require_finite,
)
from mtl_d2.balancing.gramian import gramian
from mtl_d2.balancing.jacobian import Oracle, TaskGradients, assign


class Balancer(nn.Module):
    """Scalarization, gradient stage and step of a training.

    Its parameters and buffers are the methods' whole state.
    """

    def __init__(
        self, setup: Setup, scalarization: Scalarization, gradient: GradientStage, step: Step, seed: int = 0
    ) -> None:
        """Args are the built choices; ``setup`` is what they were built for, ``seed`` keys their draws."""
        super().__init__()
        self.setup = setup
        self.scalarization = scalarization
        self.gradient = gradient
        self.step = step
        self.seed = seed

    @property
    def needs_rows(self) -> bool:
        """Whether an update has to look at each task's gradient."""
        return self.gradient.constant is None or self.scalarization.weighting.needs_rows

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
        result.scalars |= self.gradient.scalars() | self.scalarization.weighting.scalars()
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
        context = self.context(found.losses, found.present, update)
        c = self.coefficients(found.losses, context)
        G = gramian(found.rows).cpu()
        require_finite(G.diagonal(), self.setup.tasks, "the squared gradient norm", update, oracle.hint())
        last = None
        if self.scalarization.weighting.needs_rows:
            last = gramian([[row[k] for k in oracle.last_layer] for row in found.rows]).cpu().diagonal().sqrt()
        weights = self.gradient(c[:, None] * G * c, context)
        return UpdateResult(found.terms, found.losses, found.present, c, weights, G, last, update)

    def direction(self, found: TaskGradients, result: UpdateResult) -> Gradients:
        """The gradient of the shared parameters that ``result`` weighs together; frees the rows."""
        context = self.context(found.losses, found.present, result.update)
        return self.gradient.combine(found.rows, (result.weights.shared * result.coefficients).tolist(), context)

    def fill_heads(self, heads: list[Gradients], oracle: Oracle, result: UpdateResult) -> None:
        """Puts each present task's weighted head gradient into ``.grad``."""
        factors = (result.weights.heads * result.coefficients).tolist()
        for own, parameters, factor, here in zip(heads, oracle.heads, factors, result.present.tolist(), strict=True):
            if here:
                assign(combine([own], [factor]), parameters)

    def backward_once(self, oracle: Oracle, update: int) -> UpdateResult:
        """The update's gradients by one ordinary backward pass, where no gradient need be looked at."""
        scored: list[UpdateResult] = []

        def factors(losses: Tensor, present: Tensor) -> Tensor:
            context = self.context(losses, present, update)
            c = self.coefficients(losses, context)
            weights = self.gradient(torch.zeros(len(losses), len(losses), dtype=torch.float64), context)
            scored.append(UpdateResult({}, losses, present, c, weights, update=update))
            return c * weights.shared

        found = oracle.one_backward(factors)
        (result,) = scored
        result.terms = found.terms
        return result
