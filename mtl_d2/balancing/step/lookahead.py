"""Single gradient step: each task's gradient is taken where a step for that task alone would lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from mtl_d2.balancing.base import Setup
from mtl_d2.balancing.build import STEPS
from mtl_d2.balancing.jacobian import TaskGradients
from mtl_d2.balancing.step.split import Split

if TYPE_CHECKING:
    from mtl_d2.balancing.balancer import Balancer
    from mtl_d2.balancing.jacobian import Oracle
    from mtl_d2.balancing.replay import Replay


@STEPS.named("lookahead")
class Lookahead(Split):
    """Each task looks one plain gradient step ahead; theta moves along the gradients found there, then the heads.

    Paper: single gradient step update, eq. 2-4, algorithm 1, first order.
        theta^(i) = theta - alpha * grad_theta L_i(theta, phi_i)             (inner, the same batch)
        theta <- theta - beta * combined(grad_theta L_i(theta^(i), phi_i))   (outer)
        phi_i <- phi_i - alpha * grad_phi L_i(theta_new, phi_i)
    Differs from: algorithm 1, line 8, which prints theta_s for the heads' point; eq. 3 is followed. Any aggregator may
    combine; c_i comes from the losses at theta^(i). Random draws and buffers of all passes are those of the first.
    """

    several_points = True
    defaults = {"inner_lr": None}
    help = {"inner_lr": "alpha of the inner step, > 0; None: the heads' present learning rate, as in the paper"}

    def __init__(self, setup: Setup, inner_lr: float | None = None) -> None:
        """Args: ``inner_lr`` as in ``help``."""
        super().__init__(setup)
        self.inner_lr = inner_lr
        self._shares: dict[str, float] = {}

    @classmethod
    def check(cls, options: Mapping[str, Any], setup: Setup) -> list[str]:
        """The range of the inner step."""
        alpha = options["inner_lr"]
        return [] if alpha is None or alpha > 0 else [f"INNER_LR must be > 0 or None, got {alpha}"]

    def _gradients(self, oracle: Oracle, balancer: Balancer, update: int, replay: Replay) -> TaskGradients:
        here = oracle.gradients()
        ahead = TaskGradients(dict(here.terms), here.losses.clone(), here.present, [], [], start_losses=here.losses)
        start = [p.detach().clone() for p in oracle.shared]
        try:
            for i, task in enumerate(oracle.names):
                if not here.present[i]:
                    ahead.rows.append([None] * len(start))
                    continue
                self._move(oracle, start, here.rows[i])
                here.rows[i] = []
                with replay.again():
                    found = oracle.gradients([task])
                ahead.rows.append(found.rows[i])
                ahead.losses[i] = found.losses[i]
                ahead.terms.update(found.terms)
        finally:
            self._move(oracle, start, [None] * len(start))
        self._shares = _shares(oracle.names, here, ahead)
        return ahead

    def _move(self, oracle: Oracle, start: list[torch.Tensor], row: list[torch.Tensor | None]) -> None:
        alpha = oracle.learning_rate if self.inner_lr is None else self.inner_lr
        with torch.no_grad():
            for parameter, origin, gradient in zip(oracle.shared, start, row, strict=True):
                parameter.copy_(origin if gradient is None else origin - alpha * gradient)

    def scalars(self) -> dict[str, float]:
        """Share of each task in the total loss before and after the inner step (the paper's figure 3)."""
        return self._shares


def _shares(names: tuple[str, ...], here: TaskGradients, ahead: TaskGradients) -> dict[str, float]:
    shares: dict[str, float] = {}
    for when, found in (("before", here), ("after", ahead)):
        whole = float(found.losses.sum())
        if whole > 0:
            shares |= {f"share_{when}/{name}": float(x) / whole for name, x in zip(names, found.losses, strict=True)}
    return shares
