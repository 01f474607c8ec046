"""The check of all gradients before they move anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mtl_d2.balancing.jacobian import Oracle


class GradientCheck:
    """Looks at every ``.grad`` of a model: those of an ordinary backward pass, of heads, and of a regularizer too.

    Gradients are of the global batch, so that all processes find the same.
    """

    def __init__(self, oracle: Oracle) -> None:
        """Args: ``oracle`` says whose; gradients are looked at as they are now, and nothing waits for the answer."""
        self._oracle = oracle
        self._owners: list[str] = []
        self._spans: list[Tensor] = []
        owners = [*(f"the head of task {name}" for name in oracle.names), "the shared parameters"]
        for owner, parameters in zip(owners, [*oracle.heads, oracle.shared], strict=True):
            gradients = [p.grad for p in parameters if p.grad is not None and p.grad.numel()]
            self._owners += [owner] * len(gradients)
            self._spans += [_span(gradient) for gradient in gradients]

    def read(self, *more: Tensor) -> list[float]:
        """Values of the scalars ``more``, which come to the CPU with the verdict, in one transfer.

        Raises:
            FloatingPointError: an entry of a gradient is NaN or infinite; the message names tasks where it is their
                heads', else the shared parameters.
        """
        numbers = [*self._spans, *(value.double() for value in more)]
        values = torch.stack(numbers).cpu() if numbers else torch.empty(0)
        finite = values[: len(self._owners)].isfinite().tolist()
        bad = dict.fromkeys(owner for owner, fine in zip(self._owners, finite, strict=True) if not fine)
        if bad:
            oracle = self._oracle
            raise FloatingPointError(
                f"update {oracle.update}: the gradient is not finite for {', '.join(bad)}. {oracle.hint()}"
            )
        return values[len(self._owners) :].tolist()


def _span(gradient: Tensor) -> Tensor:
    """The largest less the least entry, finite if all are; the maximum norm takes twelve times as long on a CPU."""
    least, largest = torch.aminmax(gradient)
    return largest.double() - least.double()
