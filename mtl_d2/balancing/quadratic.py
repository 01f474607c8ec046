"""Small quadratic programs that gradient methods have in common, on Gramians of any scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtl_d2.balancing.base import cosines


def nonnegative_minimum(Q: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,) argmin of z'Qz / 2 + q'z over z >= 0: the active set method of Lawson and Hanson (1974, chapter 23).

    Args:
        Q: (n, n) positive semi-definite, diagonal of the order of 1.
        q: (n,) so that the minimum is attained.
    """
    z = np.linalg.lstsq(Q, -q, rcond=None)[0]
    passive = np.full(len(q), bool((z > 0).all()))  # the usual end where tasks agree, at the cost of one try
    z = np.where(passive, z, 0.0)
    tolerance = 1e-14 * len(q)
    for _ in range(30 * len(q)):
        slope = np.where(passive, np.inf, Q @ z + q)
        entering = int(slope.argmin())
        if slope[entering] >= -tolerance:
            break
        passive[entering] = True
        z = _settle(Q, q, z, passive)
        if not passive[entering]:  # the slope was rounding
            break
    return z


def _settle(Q: np.ndarray, q: np.ndarray, z: np.ndarray, passive: np.ndarray) -> np.ndarray:
    """Goes to the minimum over the ``passive`` entries, taking those out of ``passive`` that reach 0 on the way."""
    while passive.any():
        target = np.zeros_like(z)
        target[passive] = np.linalg.lstsq(Q[np.ix_(passive, passive)], -q[passive], rcond=None)[0]
        blocking = passive & (target <= 0)
        if not blocking.any():
            return target
        step = np.where(blocking, z / np.where(blocking & (z > target), z - target, 1.0), np.inf)
        passive[step.argmin()] = False
        z = np.where(passive, z + step.min() * (target - z), 0.0)
    return np.zeros_like(z)


def min_norm_point(gramian: Tensor) -> Tensor:
    """(K,) float64 weights >= 0 with sum 1 that make the combination of K rows shortest.

    With u_i = g_i / ||g_i||, a_i = min_j ||g_j|| / ||g_i|| and z_i = w_i / a_i up to a factor, the weights of the
    shortest combination minimise ||sum_i z_i u_i||^2 + (a'z - 1)^2 over z >= 0: all numbers are at most of the order of
    1, whatever the lengths of the rows. Where several weights give the shortest combination, it is one of them.

    Args:
        gramian: (K, K) float64, finite, on the CPU.
    """
    norms = gramian.diagonal().clamp(min=0).sqrt()
    shortest = norms.min()
    if shortest == 0:
        zero = (norms == 0).double()
        return zero / zero.sum()
    a = (shortest / norms).numpy()
    z = nonnegative_minimum(cosines(gramian).numpy() + np.outer(a, a), -a)
    weights = torch.from_numpy(a * z)
    return weights / weights.sum()
