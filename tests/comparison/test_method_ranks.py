"""Ranks, Friedman's test and Nemenyi's critical difference, by hand and by Demšar's paper."""

import re

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from mtl_d2.comparison.critical_difference import NAME, caption, chart, diagram, drawing
from mtl_d2.comparison.ranks import critical_difference, ranked
from mtl_d2.comparison.ranks_page import rank_table, verdict, write_ranks

# Demšar, table 6: AUC of C4.5 with nothing, m, cf and both tuned, on 14 data sets. One of two that are printed as
# 0.975 is a little higher here, since the paper ranks it before the other.
AUC = """0.763 0.768 0.771 0.798  0.599 0.591 0.590 0.569  0.954 0.971 0.968 0.967  0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898  0.936 0.931 0.916 0.931  0.661 0.668 0.609 0.685  0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875  1.000 1.000 1.000 1.000  0.940 0.962 0.965 0.962  0.619 0.666 0.614 0.669
0.972 0.981 0.9751 0.975  0.957 0.978 0.946 0.970"""
C45 = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")


@pytest.fixture
def of_demsar():
    scores = -np.array(AUC.split(), dtype=float).reshape(14, 4)
    return ranked(C45, [f"set {i}" for i in range(14)], scores)


def agreeing(methods, data_sets):
    """All data sets have the same order."""
    return ranked([f"m{i}" for i in range(methods)], [f"d{i}" for i in range(data_sets)], [range(methods)] * data_sets)


@pytest.mark.parametrize(
    ("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (8, 3.031), (10, 3.164)]
)
def test_critical_differences_are_those_of_the_papers_table(methods, q):
    """Demšar, table 5a, to its three digits, over 10 data sets."""
    expected = q * (methods * (methods + 1) / 60) ** 0.5
    assert critical_difference(methods, 10) == pytest.approx(expected, abs=6e-4)


def test_five_methods_on_ten_data_sets_by_hand():
    """2.728 sqrt(5 x 6 / 60) = 1.929."""
    assert critical_difference(5, 10) == pytest.approx(1.929, abs=5e-4)


def test_the_example_of_the_paper(of_demsar):
    """Mean ranks, Friedman's statistic of 9.28 without the correction for ties, critical difference of 1.25 at 0.05."""
    assert of_demsar.methods == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert of_demsar.means == pytest.approx([1.964, 2.0, 2.893, 3.143], abs=5e-4)
    uncorrected = 12 * 14 / (4 * 5) * (sum(mean**2 for mean in of_demsar.means) - 4 * 25 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.02)
    assert uncorrected < of_demsar.friedman[0] == pytest.approx(friedmanchisquare(*of_demsar.ranks.T).statistic)
    assert of_demsar.critical == pytest.approx(1.25, abs=5e-3)


def test_equal_scores_share_the_mean_of_their_ranks_and_lower_is_better():
    ranking = ranked(["a", "b", "c"], ["x", "y"], [[2.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    assert ranking.methods == ("b", "a", "c")
    assert ranking.ranks.tolist() == [[1.0, 2.5, 2.5], [2.0, 2.0, 2.0]]
    assert ranking.means == [1.5, 2.25, 2.25]


def test_methods_that_are_equal_everywhere_do_not_differ():
    ranking = ranked(["a", "b", "c"], ["x", "y"], [[1.0] * 3] * 2)
    assert ranking.friedman == (0.0, 1.0)
    assert ranking.groups == [(0, 2)]


def test_the_smallest_p_is_that_of_data_sets_that_agree():
    for methods, data_sets in ((3, 2), (4, 7)):
        ranking = agreeing(methods, data_sets)
        assert ranking.friedman[1] == pytest.approx(ranking.smallest_p)


def test_groups_are_the_longest_runs_within_the_critical_difference():
    """5 methods on 10 data sets, ranks 1 to 5 everywhere: two are 1.929 apart, neighbours 1."""
    ranking = agreeing(5, 10)
    assert ranking.differ
    assert ranking.groups == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert ranking.marks == ["near", "near", "", "", ""]


def test_a_method_apart_from_all_others_is_bold_and_in_no_group():
    """3 methods on 40 data sets: 2.343 sqrt(12 / 240) = 0.52."""
    ranking = agreeing(3, 40)
    assert ranking.groups == []
    assert ranking.marks == ["best", "", ""]


def test_two_methods_beyond_the_critical_difference_are_not_apart_where_friedmans_test_finds_nothing():
    """Mean ranks of 2.17 and 5.33 are 3.17 apart, the critical difference is 2.850 sqrt(42 / 36) = 3.08, p is 0.078."""
    orders = ["561243", "243561", "162435", "351246", "453612", "463521"]
    ranking = ranked("abcdef", "uvwxyz", [list(map(int, order)) for order in orders])
    assert ranking.means[-1] - ranking.means[0] > ranking.critical
    assert ranking.friedman[1] > 0.05
    assert not ranking.apart(0, 5)
    assert ranking.groups == [(0, 5)]


def test_where_friedmans_test_finds_nothing_no_two_methods_are_apart():
    """3 methods, 2 data sets that agree: p = exp(-2) = 0.135."""
    ranking = agreeing(3, 2)
    assert ranking.friedman == pytest.approx((4.0, np.exp(-2)))
    assert not ranking.apart(0, 2)
    assert (ranking.groups, ranking.marks) == ([(0, 2)], ["", "", ""])
    assert "not told apart" in verdict(ranking)
    assert caption(ranking).endswith("whatever the critical difference.")


def test_methods_are_found_to_differ_in_no_more_than_5_percent_of_the_cases_without_a_difference():
    generator = np.random.default_rng(0)
    cases = [ranked("abcd", [str(i) for i in range(12)], generator.normal(size=(12, 4))) for _ in range(600)]
    share = np.mean([case.differ for case in cases])
    assert 0.02 < share < 0.08


def bars(figure):
    """x of the ends of each bar, by its width."""
    (axes,) = figure.axes
    return [line.get_xdata() for line in axes.lines if line.get_linewidth() == 3.5]


def test_the_diagram_has_the_best_to_the_right_a_bar_for_each_group_and_names_that_do_not_overlap():
    ranking = agreeing(5, 10)
    figure = drawing(ranking)
    (axes,) = figure.axes
    names = {text.get_text(): text.get_position() for text in axes.texts}
    assert names["m0  1.00"][0] > names["m4  5.00"][0]
    assert len(set(names.values())) == len(names)
    assert "CD = 1.93" in names
    assert [list(ends) for ends in bars(figure)] == [
        pytest.approx([270 * (1 - i / 4) + 3, 270 * (1 - (i + 1) / 4) - 3]) for i in range(4)
    ]


def test_a_critical_difference_longer_than_the_axis_is_cut_and_says_so():
    figure = drawing(agreeing(3, 2))
    assert "CD = 2.34, longer than the axis" in [text.get_text() for text in figure.axes[0].texts]
    assert max(max(line.get_xdata()) for line in figure.axes[0].lines if line.get_linewidth() == 1.6) == 270


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_figure_is_a_file_with_the_same_bytes_each_time(tmp_path, kind):
    paths = []
    for name in "ab":
        (tmp_path / name).mkdir()
        paths.append(diagram(agreeing(4, 6)).save(tmp_path / name, kind))
    assert paths[0].name == f"{NAME}.{kind}"
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_diagram_of_a_page_follows_its_colours():
    svg = chart(agreeing(4, 6))
    assert svg.startswith('<svg viewBox="0 0 ')
    assert "var(--soft)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)


def test_names_of_methods_do_not_become_markup(tmp_path):
    ranking = ranked(["<b>a|b", "c_d", "e"], ["x & y", "z"], [[1, 2, 3], [1, 3, 2]])
    page = write_ranks(tmp_path / "new", ranking, "mclgs", ["<i>"]).read_text()
    assert "<b>a" not in page
    assert "<i>" not in page
    assert r"\<b>a\|b" in (tmp_path / "new" / "ranks.md").read_text().replace("<b>", r"\<b>")
    assert r"c\_d" in (tmp_path / "new" / "ranks.tex").read_text()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "ranks.html", "ranks.md", "ranks.tex", "ranks.csv", "critical_difference.png"
    }  # fmt: skip


def test_the_table_has_the_mean_rank_and_that_of_each_data_set(of_demsar):
    table = rank_table(of_demsar, "mclgs")
    assert [cell.text for cell in table.cells.loc["C4.5"]][:3] == ["3.14", "4", "1"]
    assert of_demsar.differ
    assert {cell.mark for cell in table.cells["mean rank"]} == {""}  # "the power of the post-hoc test is too low" there
