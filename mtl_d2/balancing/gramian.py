"""The Gramian of gradients that are kept parameter by parameter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 4096  # float32 sums this long, added in float64: relative error about 1e-9, and the fastest of those tried


def gramian(rows: list[list[Tensor | None]]) -> Tensor:
    """(T, T) float64 inner products of T rows, on the device of the rows.

    Chunks of a parameter are multiplied in the rows' precision (float32 at least), and their sums added in float64.
    What is left of all parameters is multiplied at once, in float64: a GPU then starts hardly more than one kernel for
    each parameter and pair, and to start one takes it longer than to multiply a million numbers.

    Args:
        rows: for each task, one tensor for each parameter, or None where its gradient is zero.
    """
    device = next((t.device for row in rows for t in row if t is not None), torch.device("cpu"))
    T = len(rows)
    sums: dict[tuple[int, int], list[Tensor]] = {(i, j): [] for i in range(T) for j in range(i + 1)}
    rests: list[list[Tensor]] = [[] for _ in rows]
    for parts in zip(*rows, strict=True):
        count = next((part.numel() for part in parts if part is not None), 0)
        whole = count // CHUNK * CHUNK
        flats = [None if part is None else _flat(part) for part in parts]
        for flat, rest in zip(flats, rests, strict=True) if count > whole else ():
            rest.append(_zeros(count - whole, device) if flat is None else flat[whole:].double())
        for (i, j), own in sums.items() if whole else ():
            left, right = flats[i], flats[j]
            if left is not None and right is not None:
                own.append(torch.linalg.vecdot(left[:whole].view(-1, CHUNK), right[:whole].view(-1, CHUNK)))
    total = _zeros(T * T, device).view(T, T)
    left_over = [torch.cat(rest) if rest else _zeros(0, device) for rest in rests]
    for (i, j), own in sums.items():
        total[i, j] = left_over[i] @ left_over[j] + (torch.cat(own).double().sum() if own else 0)
    return total + total.tril(-1).T


def _zeros(count: int, device: torch.device) -> Tensor:
    return torch.zeros(count, dtype=torch.float64, device=device)


def _flat(gradient: Tensor) -> Tensor:
    """(n,), in float32 at least: products in half precision would be added up in it."""
    flat = gradient.reshape(-1)
    return flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat


def feature_gramian(
    gradients: Sequence[dict[str, dict[str, Tensor]]], tasks: Sequence[str], device: torch.device
) -> Tensor:
    """(T, T) float64 inner products of the tasks' gradients with respect to the features.

    Args:
        gradients: for each part of a batch, by task and by feature.
        tasks: names of the T tasks.
        device: of the result.
    """
    places = [(k, name) for k, part in enumerate(gradients) for name in {n: 0 for own in part.values() for n in own}]
    rows = [[gradients[k].get(task, {}).get(name) for k, name in places] for task in tasks]
    return gramian(rows).to(device)
