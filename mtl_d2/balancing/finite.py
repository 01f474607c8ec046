"""The check of all gradients before they move anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mtl_d2.balancing.jacobian import Oracle


def require_finite_gradients(oracle: Oracle) -> None:
    """Looks at every ``.grad`` of the model: those of an ordinary backward pass, of heads, and of a regularizer too.

    One transfer to the CPU. Gradients are of the global batch, so that all processes find the same.

    Raises:
        FloatingPointError: an entry is NaN or infinite; the message names tasks where it is their heads', else the
            shared parameters.
    """
    owners = [*(f"the head of task {name}" for name in oracle.names), "the shared parameters"]
    found: list[str] = []
    largest: list[torch.Tensor] = []
    for owner, parameters in zip(owners, [*oracle.heads, oracle.shared], strict=True):
        gradients = [p.grad for p in parameters if p.grad is not None and p.grad.numel()]
        found += [owner] * len(gradients)
        largest += [torch.linalg.vector_norm(gradient, float("inf")).double() for gradient in gradients]
    if not largest:
        return
    finite = torch.stack(largest).isfinite().tolist()
    bad = dict.fromkeys(owner for owner, fine in zip(found, finite, strict=True) if not fine)
    if bad:
        raise FloatingPointError(
            f"update {oracle.update}: the gradient is not finite for {', '.join(bad)}. {oracle.hint()}"
        )
