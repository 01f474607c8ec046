"""Whether a difference is more than noise: paired over the seeds, with Holm's correction for several of them.

Sources: Student, "The Probable Error of a Mean", Biometrika 6 (1908), for the paired test and its interval; S. Holm,
"A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6 (1979) 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit  # Student's distribution and its quantiles

LEVEL = 0.05  # share of false claims that is put up with; intervals have 1 - LEVEL
FEWEST = 3  # seeds in common without which nothing is claimed


@dataclass(frozen=True)
class Difference:
    """The difference of two methods, over the seeds that both have a finite value of.

    Attributes:
        mean: of the differences of each seed; NaN without a seed in common.
        low: lower end of the interval of confidence; NaN below two seeds.
        high: upper end.
        p: two-sided, of the paired t test of a mean of 0; NaN below two seeds.
        count: seeds.
    """

    mean: float
    low: float
    high: float
    p: float
    count: int

    def is_claimed(self, corrected: float) -> bool:
        """Whether it is more than noise, with the p that it has among others of its kind."""
        return self.count >= FEWEST and corrected < LEVEL


def difference(values: Mapping[str, float], reference: Mapping[str, float], level: float = LEVEL) -> Difference:
    """What a method has more than another one, seed by seed: Student's t with count - 1 degrees of freedom.

    Differences that are the same for all seeds have an interval of no width, and p = 0, or 1 where they are 0.

    Args:
        values: of the method by seed; those that are NaN or infinite are left out.
        reference: of the other one.
        level: 1 - confidence of the interval, in (0, 1).
    """
    common = [s for s in values if math.isfinite(values[s]) and math.isfinite(reference.get(s, math.nan))]
    gaps = [values[seed] - reference[seed] for seed in common]
    count = len(gaps)
    mean = fmean(gaps) if gaps else math.nan
    if count < 2:
        return Difference(mean, math.nan, math.nan, math.nan, count)
    error = stdev(gaps) / math.sqrt(count)
    if error == 0:
        return Difference(mean, mean, mean, float(mean == 0), count)
    reach = float(stdtrit(count - 1, 1 - level / 2)) * error
    return Difference(mean, mean - reach, mean + reach, 2 * float(stdtr(count - 1, -abs(mean) / error)), count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the smallest of m p-values times m, the next times m - 1, ..., none below the last.

    Below a level are then those that can be claimed together, with that chance of one false claim among them.

    Args:
        p_values: in [0, 1]; NaN where there was no test, which is none of the m and stays NaN.
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected = [math.nan for _ in p_values]
    largest = 0.0
    for step, i in enumerate(order):
        largest = max(largest, min((len(order) - step) * p_values[i], 1.0))
        corrected[i] = largest
    return corrected


def marks(
    column: Sequence[Mapping[str, float]], texts: Sequence[str], means: Sequence[float], higher: bool
) -> list[str]:
    """For each method of a column: "best", "near" or "".

    The best mean is "best" where it is better than every other method's, paired over the seeds and corrected for their
    number. Else those that are not worse by that test are "near", the best mean itself included. Nothing is marked
    where that would be all of them, or where there is nothing to choose from.

    Args:
        column: values of each method by seed.
        texts: their means as they are shown; what is equal as shown is not told apart.
        means: the means; NaN for none.
        higher: whether higher is better.
    """
    finite = [i for i, mean in enumerate(means) if math.isfinite(mean)]
    if not finite:
        return ["" for _ in column]
    top = (max if higher else min)(finite, key=lambda i: means[i])
    others = [i for i in finite if i != top]
    behind = [difference(column[top], column[i]) for i in others]
    corrected = holm([gap.p if gap.count >= FEWEST else math.nan for gap in behind])
    worse = {
        i
        for i, gap, p in zip(others, behind, corrected, strict=True)
        if gap.is_claimed(p) and (gap.mean > 0) == higher and texts[i] != texts[top]
    }
    mark = "best" if len(worse) == len(others) else "near"
    return [mark if worse and i in finite and i not in worse else "" for i in range(len(column))]
