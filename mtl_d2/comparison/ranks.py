"""Ranks of methods over several data sets: Friedman's test, and Nemenyi's critical difference of mean ranks.

Sources: J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1-30, section 3.2;
M. Friedman, "The Use of Ranks to Avoid the Assumption of Normality Implicit in the Analysis of Variance", JASA (1937).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, friedmanchisquare, rankdata, studentized_range

from mtl_d2.comparison.significance import LEVEL

Ranks = npt.NDArray[np.float64]
MANY_SETS = 10  # above which Friedman's statistic is nearly chi-squared, by Demšar's rule of thumb


@dataclass(frozen=True)
class Ranking:
    """N data sets on which k methods were ranked.

    Attributes:
        methods: k names, the best mean rank first.
        data_sets: N names, N >= 2.
        ranks: (N, k), 1 = the best; methods that are equal share the mean of their ranks.
    """

    methods: tuple[str, ...]
    data_sets: tuple[str, ...]
    ranks: Ranks

    @cached_property
    def means(self) -> list[float]:
        """Mean rank of each method over the data sets."""
        return [float(mean) for mean in self.ranks.mean(axis=0)]

    @cached_property
    def friedman(self) -> tuple[float, float]:
        """Friedman's chi-squared, corrected for ties, with k - 1 degrees of freedom, and its p: that all are equal."""
        if np.all(self.ranks == self.ranks[:, :1]):
            return 0.0, 1.0  # all methods are equal on every data set
        statistic, p = friedmanchisquare(*self.ranks.T)
        return float(statistic), float(p)

    @cached_property
    def smallest_p(self) -> float:
        """The p of Friedman's test if all data sets gave the same ranks without a tie: there is none below."""
        freedom = len(self.methods) - 1
        return float(chi2.sf(len(self.data_sets) * freedom, freedom))

    @cached_property
    def critical(self) -> float:
        """Nemenyi's critical difference of mean ranks."""
        return critical_difference(len(self.methods), len(self.data_sets))

    @property
    def differ(self) -> bool:
        """Whether Friedman's test finds that the methods are not all equal; only then may any two be compared."""
        return self.friedman[1] < LEVEL

    def apart(self, first: int, second: int) -> bool:
        """Whether two methods differ by more than noise."""
        return self.differ and abs(self.means[first] - self.means[second]) >= self.critical

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First and last of each run of methods, as long as can be, none of which differs from another one of it."""
        count = len(self.methods)
        ends = [max(j for j in range(i, count) if not self.apart(i, j)) for i in range(count)]
        return [(i, end) for i, end in enumerate(ends) if end > i and (i == 0 or end > ends[i - 1])]

    @property
    def marks(self) -> list[str]:
        """For each method: "best" where it is apart from all others, "near" where it is not apart from the best, ""."""
        near = [not self.apart(0, i) for i in range(len(self.methods))]
        if all(near):
            return ["" for _ in near]
        mark = "near" if sum(near) > 1 else "best"
        return [mark if is_near else "" for is_near in near]


def ranked(methods: Sequence[str], data_sets: Sequence[str], scores: Sequence[Sequence[float]]) -> Ranking:
    """Ranks methods on each data set.

    Args:
        methods: k names.
        data_sets: N names.
        scores: (N, k), finite, lower is better.
    """
    ranks = rankdata(np.asarray(scores, dtype=float), axis=1)
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    return Ranking(tuple(methods[i] for i in order), tuple(data_sets), ranks[:, order])


def critical_difference(methods: int, data_sets: int, level: float = LEVEL) -> float:
    """Nemenyi's: q sqrt(k (k + 1) / 6 N), q = quantile of the studentized range, infinite degrees of freedom, / sqrt 2.

    Args:
        methods: k >= 2.
        data_sets: N >= 1.
        level: chance of claiming any difference where there is none, in (0, 1).
    """
    q = float(studentized_range.ppf(1 - level, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * data_sets))
