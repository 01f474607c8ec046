"""Small least-squares problems that gradient methods have in common, on rows of any scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtl_d2.balancing.exact.coordinates import RANK

NOWHERE = 1e-12  # what is left where conditions contradict each other is below this


def nonnegative_least_squares(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) argmin of ||A z - b|| over z >= 0: the active set method of Lawson and Hanson (1974, chapter 23).

    Args:
        A: (m, n), columns of length of the order of 1. They may depend on each other.
        b: (m,) of the order of 1.
    """
    z = np.linalg.lstsq(A, b, rcond=RANK)[0]
    passive = np.full(A.shape[1], bool((z > 0).all()))  # the usual end where tasks agree, at the cost of one try
    z = np.where(passive, z, 0.0)
    tolerance = RANK * A.shape[1]
    for _ in range(30 * A.shape[1]):
        slope = np.where(passive, np.inf, A.T @ (A @ z - b))
        entering = int(slope.argmin())
        if slope[entering] >= -tolerance:
            break
        passive[entering] = True
        z = _settle(A, b, z, passive)
        if not passive[entering]:  # the slope was rounding
            break
    return z


def _settle(A: np.ndarray, b: np.ndarray, z: np.ndarray, passive: np.ndarray) -> np.ndarray:
    """Goes to the minimum over the ``passive`` entries, taking those out of ``passive`` that reach 0 on the way."""
    while passive.any():
        target = np.zeros_like(z)
        target[passive] = np.linalg.lstsq(A[:, passive], b, rcond=RANK)[0]
        blocking = passive & (target <= 0)
        if not blocking.any():
            return target
        step = np.where(blocking, z / np.where(blocking & (z > target), z - target, 1.0), np.inf)
        passive[step.argmin()] = False
        z = np.where(passive, z + step.min() * (target - z), 0.0)
    return np.zeros_like(z)


def harmless(rows: Tensor, direction: Tensor) -> Tensor:
    """(K,) l >= 0 such that d + sum_j l_j g_j is the point of {x: g_j . x >= 0 for all j} that is closest to d.

    Args:
        rows: (K, r) float64 g_j, none 0.
        direction: (r,) d.
    """
    norms, length = rows.norm(dim=1), direction.norm()
    if length == 0:
        return torch.zeros_like(norms)
    units = rows / norms[:, None]  # in units of each length: no number depends on a scale
    z = nonnegative_least_squares(units.T.numpy(), -(direction / length).numpy())
    return torch.from_numpy(z) * length / norms


def shortest_beyond(rows: np.ndarray, least: np.ndarray) -> np.ndarray:
    """(K,) m >= 0 of the shortest x = sum_j m_j g_j with g_j . x >= b_j for all j; zeros where there is no such x.

    Lawson and Hanson's least distance problem (1974, chapter 23): with z = argmin ||sum_j z_j (g_j, b_j) - (0, 1)||^2
    over z >= 0 and what is left of it r, x = r_{1..r} / -r_{r+1}; no x does where r = 0.

    Args:
        rows: (K, r) g_j, of length 1.
        least: (K,) b_j.
    """
    size = max(1.0, float(np.abs(least).max()))
    bounds = least / size
    z = nonnegative_least_squares(np.concatenate([rows, bounds[:, None]], axis=1).T, np.eye(rows.shape[1] + 1)[-1])
    left = 1 - bounds @ z
    return z / left * size if left > NOWHERE else np.zeros_like(z)


def min_norm_point(rows: Tensor) -> Tensor:
    """(K,) float64 weights >= 0 with sum 1 that make the combination of K rows shortest.

    With u_i = g_i / ||g_i||, a_i = min_j ||g_j|| / ||g_i|| and z_i = w_i / a_i up to a factor, the weights of the
    shortest combination minimise ||sum_i z_i u_i||^2 + (a'z - 1)^2 over z >= 0: all numbers are at most of the order of
    1, whatever the lengths of the rows. Where several weights give the shortest combination, it is one of them.

    Args:
        rows: (K, r) float64, finite, on the CPU; coordinates of the rows will do.
    """
    norms = rows.norm(dim=1)
    shortest = norms.min()
    if shortest == 0:
        zero = (norms == 0).double()
        return zero / zero.sum()
    a = shortest / norms
    A = torch.cat([(rows / norms[:, None]).T, a[None]]).numpy()
    z = nonnegative_least_squares(A, np.eye(len(A))[-1])
    weights = a * torch.from_numpy(z)
    return weights / weights.sum()
