"""Single gradient step: each task's gradient is taken where a step for that task alone would lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mtl_d2.balancing.interfaces import Gradients, Setup, Step
from mtl_d2.balancing.registry import STEPS
from mtl_d2.options import number

if TYPE_CHECKING:
    from mtl_d2.balancing.exact.oracle import Oracle
    from mtl_d2.balancing.exact.replay import Replay
    from mtl_d2.balancing.exact.rows import TaskGradients


@STEPS.named("lookahead")
class Lookahead(Step):
    """Each task looks one plain gradient step ahead; theta moves along the gradients it sees there, then the heads.

    Paper: Lee and Son, Multitask learning with single gradient step update for task balancing, Neurocomputing 2022,
    https://arxiv.org/abs/2005.09910, eq. 2-4, algorithm 1, first order.
        theta^(i) = theta - alpha * grad_theta L_i(theta, phi_i)             (inner, the same batch)
        theta <- theta - beta * combined(grad_theta L_i(theta^(i), phi_i))   (outer)
        phi_i <- phi_i - alpha * grad_phi L_i(theta_new, phi_i)
    Differs from: algorithm 1, line 8, which prints theta_s for the heads' point; eq. 3 is followed. Any aggregator may
    combine; c_i comes from the losses at theta^(i). Random draws and buffers of all passes are those of the first.
    """

    several_points = True
    moves = 2
    options = {
        "inner_lr": number(
            None, "alpha of the inner step; None: the heads' present learning rate, as in the paper", above=0, none=True
        )
    }

    def __init__(self, setup: Setup, inner_lr: float | None = None) -> None:
        """Args: ``inner_lr`` as in ``options``."""
        super().__init__(setup)
        self.inner_lr = inner_lr
        self._shares: dict[str, float] = {}

    def gradients(self, oracle: Oracle, replay: Replay) -> TaskGradients:
        """See ``Step``; ``losses`` are those at theta^(i)."""
        here = oracle.gradients()
        ahead = oracle.nothing()
        ahead.terms, ahead.losses, ahead.start_losses = dict(here.terms), here.losses.clone(), here.losses
        alpha = oracle.learning_rate if self.inner_lr is None else self.inner_lr
        start = [p.detach().clone() for p in oracle.shared]
        try:
            for i, task in enumerate(oracle.names):
                if not here.present[i]:
                    ahead.rows.append([None] * len(start))
                    continue
                _move(oracle, start, here.rows[i], alpha)
                here.rows[i] = []
                with replay.again():
                    there = oracle.gradients([task])
                ahead.rows.append(there.rows[i])
                ahead.losses[i] = there.losses[i]
                ahead.terms.update(there.terms)
        finally:
            _move(oracle, start, [None] * len(start), alpha)
        before, after = _shares(oracle.names, "before", here.losses), _shares(oracle.names, "after", ahead.losses)
        self._shares = before | after
        return ahead

    def scalars(self) -> dict[str, float]:
        """Share of each task in the total loss before and after the inner step (the paper's figure 3)."""
        return self._shares


def _move(oracle: Oracle, start: list[Tensor], row: Gradients, alpha: float) -> None:
    with torch.no_grad():
        for parameter, origin, gradient in zip(oracle.shared, start, row, strict=True):
            parameter.copy_(origin if gradient is None else origin - alpha * gradient)


def _shares(names: tuple[str, ...], when: str, losses: Tensor) -> dict[str, float]:
    whole = float(losses.sum())
    return {f"share_{when}/{name}": float(x) / whole for name, x in zip(names, losses, strict=True) if whole > 0}
