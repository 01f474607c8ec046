"""The check of all gradients before they move anything, and who is to blame for one that fails it."""

from __future__ import annotations

import math
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
            self._spans += _spans(gradients)

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
                f"update {oracle.update}: the gradient is not finite for {', '.join(bad)}. {blame(oracle)}"
            )
        return values[len(self._owners) :].tolist()


def blame(oracle: Oracle) -> str:
    """Which task's gradient is not finite in which process, where that can be told, and what to do about it.

    The averaged gradients do not tell, so each process takes its own anew: all of them have to ask. With a loss scale
    none does, for a smaller scale is what is tried next.
    """
    tasks = [0] * len(oracle.names)
    if oracle.precision.scale == 1:
        parameters = [p for p in oracle.model.parameters() if p.requires_grad]
        for losses in oracle.connected_losses(oracle.names):
            for i, loss in enumerate(losses):
                if loss is not None:
                    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                    tasks[i] |= any(
                        not bool(x.isfinite()) for x in _spans([g for g in found if g is not None and g.numel()])
                    )
    culprits = [
        f"task {name} in process {rank}"
        for rank, broken in enumerate(oracle.reduction.everybodys(tasks))
        for name, bad in zip(oracle.names, broken, strict=True)
        if bad
    ]
    return (f"It comes from {', '.join(culprits)}. " if culprits else "") + oracle.hint()


def _spans(gradients: list[Tensor]) -> list[Tensor]:
    """For each a scalar that is finite if all its entries are: the largest one, by amount or less the least one."""
    if gradients and gradients[0].is_cuda:  # all at once in a few kernels; on a CPU that takes twelve times as long
        return list(torch._foreach_norm(gradients, math.inf))
    extremes = [torch.aminmax(gradient) for gradient in gradients]
    return [largest.double() - least.double() for least, largest in extremes]
