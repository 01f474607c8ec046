"""How the task losses become one number S."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_d2.balancing.exact.rows import assign
from mtl_d2.balancing.interfaces import Context, Weighting

FLOOR = 1e-12  # the least weight, for weightings where a weight of 0 would leave a mean of the losses undefined
MEANS = ("arithmetic", "geometric", "log")


class Scalarization(nn.Module):
    """S: a weighted arithmetic or geometric mean of the losses of the present tasks, or the sum of their logarithms.

    arithmetic: S = sum_i w_i L_i + offset
    geometric:  S = exp(sum_i w_i log L_i), w divided by its sum over the present tasks unless the weighting says not
    log:        S = sum_i w_i log L_i, which does not change its gradient with the scale of a loss

    A loss of exactly 0, as where nothing of an image is to be learnt, is at its minimum and moves nothing: its task is
    left out of a geometric mean, or a sum of logarithms, as if it were absent.

    Attributes:
        constant: (T,) float64, dS/dL_i of the tasks that are present, where it never changes; else None.
    """

    def __init__(self, weighting: Weighting, mean: str = "arithmetic") -> None:
        """Args: ``weighting`` gives w; ``mean`` is one of ``MEANS``."""
        super().__init__()
        self.weighting = weighting
        self.mean = mean
        self.constant = weighting.constant() if mean == "arithmetic" else None

    @property
    def needs_losses(self) -> bool:
        """Whether dS/dL_i depends on the losses of the same update."""
        return self.mean != "arithmetic" or self.weighting.needs_losses

    def forward(self, losses: Tensor, context: Context) -> Tensor:
        """S, a scalar, of ``losses`` ((T,) float64 on the CPU, a leaf).

        Raises:
            ValueError: a mean that takes logarithms meets a loss < 0.
        """
        present = context.present
        weights, losses = self.weighting(context)[present], losses[present]
        if self.mean == "arithmetic":
            return (weights * losses).sum() + self.weighting.offset(present)
        require_not_negative(losses, context, f"MTL.SCALARIZATION.MEAN {self.mean!r}")
        counted = losses != 0  # NaN counts, to be found
        weights, losses = weights[counted], losses[counted]
        if self.mean == "log":
            return (weights * losses.log()).sum()
        if self.weighting.normalized:
            weights = weights / weights.sum().clamp(min=1e-300)  # all 0: S is 1, and moves nothing
        return torch.exp((weights * losses.log()).sum())

    def coefficients(self, context: Context) -> Tensor:
        """(T,) c_i = dS/dL_i; its own parameters get dS/ds into their ``.grad``."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        leaf = context.losses.clone().requires_grad_()
        total = self(leaf, context)
        if not total.requires_grad:
            return torch.zeros_like(context.losses)
        c, *rest = torch.autograd.grad(total, [leaf, *parameters], allow_unused=True)
        assign(list(rest), parameters)
        return torch.zeros_like(context.losses) if c is None else c


def require_not_negative(losses: Tensor, context: Context, what: str) -> None:
    """Raises ValueError: some of the ``losses`` of an update are < 0, of which ``what`` cannot take the logarithm."""
    if (losses < 0).any():
        raise ValueError(
            f"{what} needs losses >= 0, got {losses.tolist()} in update {context.update}; use another one with losses "
            "that may be negative, such as MTL.SCALARIZATION.NAME 'fixed' and MEAN 'arithmetic'"
        )
