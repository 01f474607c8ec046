"""The Gramian of gradients that are kept parameter by parameter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 4096  # float32 sums this long, added in float64: relative error about 1e-9, and the fastest of those tried


def gramian(rows: list[list[Tensor | None]]) -> Tensor:
    """(T, T) float64 inner products of T rows, on the device of the rows.

    Args:
        rows: for each task, one tensor for each parameter, or None where its gradient is zero.
    """
    device = next((t.device for row in rows for t in row if t is not None), torch.device("cpu"))
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=device)
    for parts in zip(*rows, strict=True):
        for i, left in enumerate(parts):
            for j, right in enumerate(parts[: i + 1]):
                if left is not None and right is not None:
                    total[i, j] += inner_product(left, right)
    return total + total.tril(-1).T


def inner_product(left: Tensor, right: Tensor) -> Tensor:
    """Scalar float64 inner product of two tensors of the same shape, of any float dtype."""
    left, right = left.reshape(-1), right.reshape(-1)
    if left.dtype in (torch.float16, torch.bfloat16):
        left, right = left.float(), right.float()  # products would be added up in half precision
    if left.dtype == torch.float64 or left.numel() <= CHUNK:
        return left.double() @ right.double()
    whole = left.numel() // CHUNK * CHUNK
    chunks = torch.linalg.vecdot(left[:whole].view(-1, CHUNK), right[:whole].view(-1, CHUNK)).double().sum()
    return chunks + left[whole:].double() @ right[whole:].double()


def feature_gramian(
    gradients: Sequence[dict[str, dict[str, Tensor]]], tasks: Sequence[str], device: torch.device
) -> Tensor:
    """(T, T) float64 inner products of the tasks' gradients with respect to the features.

    Args:
        gradients: for each part of a batch, by task and by feature.
        tasks: names of the T tasks.
        device: of the result.
    """
    total = torch.zeros(len(tasks), len(tasks), dtype=torch.float64, device=device)
    for part in gradients:
        for i, one in enumerate(tasks):
            for j, other in enumerate(tasks):
                mine, theirs = part.get(one, {}), part.get(other, {})
                for name in mine.keys() & theirs.keys():
                    total[i, j] += inner_product(mine[name], theirs[name])
    return total
