"""Rows as coordinates in an orthonormal basis of their span, for methods that ask in which directions they differ.

Where two rows of length 1 differ by eps, all that their Gramian says of the difference are its entries' last digits, of
the size of eps^2: at eps = 1e-6 in float64, 4 digits are left of 16. Coordinates keep 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

RANK = 1e-14  # singular values of unit rows below this share of the largest are rounding
DIGITS = 1e-4  # smallest eigenvalue of the cosine matrix for which the Gramian says enough
LOOKS = 3  # at the rows, at most; one settles rows that differ on one scale
CHUNK = 2**16  # elements of the rows that are combined at a time
EPSILON = np.finfo(np.float64).eps


def coordinates(gramian: Tensor, look: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """(T, r) float64 F of T rows J = F Q with orthonormal Q, so that F F' is their Gramian and F has J's digits.

    F = N V sqrt(l) of the norms N and the cosines V diag(l) V'. Where l is too small to be known, this is a first step
    alone: the rows Q are made of J and taken as rows to treat likewise (CholeskyQR2: Yamamoto et al., 2015, with
    eigenvectors in the place of Cholesky's factor).

    Args:
        gramian: (T, T) float64 on the CPU, finite. A row of zeros has coordinates 0.
        look: gives the Gramian of ``M @ J`` ((K, K) float64 on the CPU) for any M ((K, T)); None where there are no
            rows to look at.
    """
    G = gramian.numpy()  # small: numpy takes a third of torch's time
    lengths = np.sqrt(np.diagonal(G))
    made = np.eye(len(G))  # of J: the rows that are looked at
    F = made  # J's coordinates in these
    floor = np.zeros_like(lengths)
    for looks in range(LOOKS + 1):
        norms = np.sqrt(np.diagonal(G).clip(0))
        there = norms > floor
        if not there.all():
            norms, made, F, G = norms[there], made[there], F[:, there], G[np.ix_(there, there)]
        values, vectors = np.linalg.eigh(G / norms[:, None] / norms)  # one norm after the other: products underflow
        F = F * norms @ vectors
        if look is None or looks == LOOKS or not len(values) or values[0] >= DIGITS:
            rounding = len(lengths) * EPSILON * values[-1:].sum()
            return torch.from_numpy(F * np.sqrt(np.where(values > rounding, values, 0.0)))
        roots = np.sqrt(values.clip(EPSILON))
        F = F * roots
        made = vectors.T / roots[:, None] @ (made / norms[:, None])
        G = look(torch.from_numpy(made)).numpy()
        floor = len(lengths) * EPSILON * (np.abs(made) @ lengths)  # what rounding makes of rows that do not differ
    raise AssertionError("the last look returns")


def combined_gramian(rows: Sequence[Sequence[Tensor | None]], factors: Tensor) -> Tensor:
    """(K, K) float64 Gramian of ``factors @ rows``, which are made in float64, on the device of the rows.

    Args:
        rows: for each of T tasks, one tensor for each parameter, or None where its gradient is zero.
        factors: (K, T) float64.
    """
    device = next((t.device for row in rows for t in row if t is not None), factors.device)
    factors = factors.to(device)
    total = torch.zeros(len(factors), len(factors), dtype=torch.float64, device=device)
    for parts in zip(*rows, strict=True):
        here = [i for i, part in enumerate(parts) if part is not None]
        flat = [part.reshape(-1) for part in parts if part is not None]
        for chunks in zip(*(part.split(CHUNK) for part in flat), strict=True):
            combined = factors[:, here] @ torch.stack([chunk.double() for chunk in chunks])
            total += combined @ combined.T
    return total
