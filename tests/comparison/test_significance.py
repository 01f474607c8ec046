"""What is claimed of differences, by hand, by SciPy's test, and how often where there is nothing to claim."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mtl_d2.comparison.significance import difference, holm, marks


def seeds(*values):
    return {str(i): value for i, value in enumerate(values, start=1)}


def test_difference_interval_and_p_by_hand():
    """Differences 1, 2, 3: standard error 1 / sqrt 3, t = 2 sqrt 3. Student's distribution with 2 degrees of freedom is
    1 / 2 + t / 2 sqrt(2 + t^2), so that p = 1 - sqrt(12 / 14) and the quantile of 0.975 is 0.95 sqrt(2 / (1 - 0.95^2)).
    """
    gap = difference(seeds(11.0, 22.0, 33.0), seeds(10.0, 20.0, 30.0))
    reach = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    assert (gap.mean, gap.count) == (2.0, 3)
    assert (gap.low, gap.high) == pytest.approx((2 - reach, 2 + reach))
    assert gap.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert not gap.is_claimed(gap.p)


def test_the_interval_and_p_are_scipys_and_exclude_0_together():
    generator = np.random.default_rng(0)
    claimed = 0
    for count in (2, 3, 5, 10):
        for _ in range(50):
            first, second = generator.normal(size=(2, count)) * 10.0 ** generator.integers(-6, 6)
            first += second + generator.normal() * np.abs(second).mean()
            gap = difference(seeds(*first), seeds(*second))
            theirs = ttest_rel(first, second)
            assert gap.p == pytest.approx(theirs.pvalue, rel=1e-9)
            assert (gap.low, gap.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-9)
            assert (gap.low > 0 or gap.high < 0) == (gap.p < 0.05)
            claimed += gap.p < 0.05
    assert 40 < claimed < 160  # both happen


def test_only_seeds_that_both_have_a_number_of_count():
    values = {"1": 3.0, "2": math.nan, "3": 5.0, "4": math.inf, "5": 1.0}
    gap = difference(values, {"1": 1.0, "2": 1.0, "3": 2.0, "4": 1.0, "6": 9.0})
    assert (gap.mean, gap.count) == (2.5, 2)


def test_one_seed_has_no_interval_and_none_has_no_difference():
    single, nothing = difference(seeds(3.0), seeds(1.0)), difference(seeds(3.0), {})
    assert (single.mean, single.count) == (2.0, 1)
    assert all(math.isnan(value) for value in (single.low, single.high, single.p, nothing.mean, nothing.p))
    assert nothing.count == 0


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.5, 0.0)], ids=["none", "half"])
def test_a_difference_that_all_seeds_share_has_an_interval_of_no_width(shift, p):
    gap = difference(seeds(1.0 + shift, 2.0 + shift, 4.0 + shift), seeds(1.0, 2.0, 4.0))
    assert (gap.mean, gap.low, gap.high, gap.p) == (shift, shift, shift, p)
    assert gap.is_claimed(gap.p) == (shift != 0)


def test_two_seeds_claim_nothing_however_small_p_is():
    gap = difference(seeds(2.0, 3.0), seeds(1.0, 2.0))
    assert gap.p == 0
    assert not gap.is_claimed(gap.p)


def test_holm_by_hand():
    """4 x 0.005, 3 x 0.01, 2 x 0.03; 1 x 0.04 is below the one before, and takes its value."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, math.nan, 0.6]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
    assert holm([]) == []


BEST = seeds(10.0, 21.0, 32.0)


def behind(spread):
    """Worse than BEST by 1 - spread, 1, 1 + spread: t = sqrt 3 / spread, p = 1 - t / sqrt(2 + t^2)."""
    return seeds(*(value - gap for value, gap in zip(BEST.values(), (1 - spread, 1.0, 1 + spread), strict=True)))


def marked(*column, higher=True, decimals=2):
    means = [float(np.mean(list(values.values()))) if values else math.nan for values in column]
    return marks(column, [f"{mean:.{decimals}f}" for mean in means], means, higher)


def test_the_best_is_bold_where_it_is_better_than_every_other_seed_by_seed():
    """Of 21 +- 6.4 and 20 +- 6.4, but 1 +- 0.06 apart: p = 0.003."""
    assert marked(behind(0.1), BEST, {}) == ["", "best", ""]
    assert marked(behind(0.1), BEST, higher=False) == ["best", ""]


def test_those_not_told_from_the_best_are_underlined_with_it():
    assert marked(BEST, behind(1.0), behind(0.01)) == ["near", "near", ""]


def test_where_no_method_is_told_from_the_best_nothing_is_marked():
    assert marked(BEST, behind(1.0), behind(0.9)) == ["", "", ""]
    assert marked(BEST) == marked({}) == [""]


def test_marks_are_corrected_for_the_number_of_methods():
    """p is 0.029: below 0.05, but not twice. Beside one of 0.00003 it is the second and last, and counts once."""
    assert marked(BEST, behind(0.3)) == ["best", ""]
    assert marked(BEST, behind(0.3), behind(0.3)) == ["", "", ""]
    assert marked(BEST, behind(0.3), behind(0.01)) == ["best", "", ""]


def test_with_fewer_than_three_common_seeds_nothing_is_bold():
    two = {"1": 0.0, "2": 11.0}
    assert marked(BEST, two) == ["", ""]
    assert marked(BEST, two, behind(0.01)) == ["near", "near", ""]
    assert marked(BEST, {"7": 1.0, "8": 2.0, "9": 3.0}) == ["", ""]


def test_what_is_equal_as_shown_is_not_told_apart():
    nearly = {seed: value - 0.001 for seed, value in BEST.items()}
    assert marked(BEST, nearly) == ["", ""]
    assert marked(BEST, nearly, behind(0.01)) == ["near", "near", ""]
    assert marked(BEST, nearly, decimals=3) == ["best", ""]


def test_a_best_mean_that_is_worse_on_the_common_seeds_is_not_bold():
    lucky = {**behind(0.01), "4": 99.0}
    assert marked(lucky, BEST) == ["", ""]


@pytest.mark.parametrize("methods", [2, 5, 10])
def test_of_equal_methods_one_is_bold_in_no_more_than_5_percent_of_the_columns(methods):
    generator = np.random.default_rng(1)
    columns = 1000
    bold = told = 0
    for _ in range(columns):
        noise = generator.normal(size=(methods, 3)) + 5 * generator.normal(size=3)
        signs = marked(*(seeds(*row) for row in noise), decimals=6)
        bold, told = bold + ("best" in signs), told + any(signs)
    assert bold / columns < 0.065  # 5 percent and 2.2 standard errors
    assert methods > 2 or bold / columns > 0.035  # with one pair it is the level of the test
    assert told / columns < 0.13  # something is told from a best that the same runs chose
