"""Data sets that share names of classes, but not what they call so: ids in another order.

Of each class that two sets share, what its samples look like is compared: where in the image, how large, which colour.
If the classes of one set fit those of the other much better under other names than under their own, it is said. What
differs between the two sets as a whole, as between day and night or two cameras, is taken out before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from mtl_d2.inspection.labels.base import Array, Profile

FEW = 10  # samples of a class in both sets from which on it is compared
APART = 0.8  # distance, in standard deviations within classes, that a class must have from its own name
BETTER = 0.5  # times as far, at most, it must be from the other name


def other_orders(profiles: Mapping[str, Mapping[str, Profile]], task: str) -> Iterator[str]:
    """A sentence for each pair of data sets of which classes seem to be interchanged.

    Args:
        profiles: by data set and class.
        task: whose labels they are.
    """
    for (one, of_one), (other, of_other) in combinations(profiles.items(), 2):
        names = [
            name for name in of_one
            if name in of_other and min(len(of_one[name].features), len(of_other[name].features)) >= FEW
        ]  # fmt: skip
        exchanged = interchanged([of_one[name] for name in names], [of_other[name] for name in names])
        if exchanged:
            words = ", ".join(f"{names[i]!r} of {other} looks like {names[j]!r} of {one}" for i, j in exchanged[:4])
            yield (
                f"{task}: {words}, by place in the image, size and colour: are ids of classes in the order of "
                f"their names in both sets?"
            )


def interchanged(ones: Sequence[Profile], others: Sequence[Profile]) -> list[tuple[int, int]]:
    """Which of ``others`` fit another one of ``ones``, each as (of others, of ones)."""
    if len(ones) < 2:
        return []
    distances = distance_matrix(ones, others)  # [i, j] of ones i to others j
    rows, columns = linear_sum_assignment(distances**2)
    own = distances.diagonal()
    # Both of a pair must be far from their own names and near to the new ones; a chain of near names is no order.
    return sorted(
        (int(j), int(i))
        for i, j in zip(rows, columns, strict=True)
        if i != j and min(own[i], own[j]) > APART and distances[i, j] < BETTER * min(own[i], own[j])
    )


def distance_matrix(ones: Sequence[Profile], others: Sequence[Profile]) -> Array:
    """Root mean squared difference of the features, in standard deviations within classes."""
    first, second = (np.stack([p.mean for p in profiles]) for profiles in (ones, others))  # (C, F)
    within = np.mean([p.variance for p in (*ones, *others)], axis=0)
    between = np.mean([first.var(0), second.var(0)], axis=0)
    scale = np.sqrt(np.maximum(within, 1e-3 * between + 1e-9))
    shifted = second + (first - second).mean(0)
    return np.sqrt((((first[:, None] - shifted[None]) / scale) ** 2).mean(-1))
