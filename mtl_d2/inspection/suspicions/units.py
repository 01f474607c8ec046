"""Data sets whose numbers are in the same unit by name, and differ by a factor that is another unit's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from mtl_d2.inspection.labels.base import Profile

TIMES = 8.0  # indoors and outdoors differ by less, as a rule


def other_units(profiles: Mapping[str, Mapping[str, Profile]], task: str) -> Iterator[str]:
    """A sentence for each pair of data sets whose medians are far apart.

    Args:
        profiles: by data set, and by what the numbers are ("depth in metres"); features (N, 1) are logarithms.
        task: whose labels they are.
    """
    for (one, of_one), (other, of_other) in combinations(profiles.items(), 2):
        for what in of_one.keys() & of_other.keys():
            if of_one[what].features.shape[1] != 1:
                continue
            first, second = (float(np.exp(np.median(p[what].features))) for p in (of_one, of_other))
            if max(first, second) > TIMES * min(first, second):
                yield (
                    f"{task}: the median {what} is {first:.3g} in {one} and {second:.3g} in {other}: are both in the "
                    "unit that they are said to be in?"
                )
