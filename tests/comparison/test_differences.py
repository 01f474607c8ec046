"""The table of differences, of runs that never happened."""

import csv
import io
import math

import pytest
from made_up import made_up_comparison, scores, write_run

from mtl_d2.comparison.collect import collect
from mtl_d2.comparison.differences import difference_table, differences_csv
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.page import write_tables
from mtl_d2.comparison.render import html, latex, markdown
from mtl_d2.comparison.state import FAILED, FINISHED, Outcome
from mtl_d2.comparison.tables import cost_table, main_table

DONE = Outcome(FINISHED, "", 2**30, 90.0)
AP, IOU, DROP, GAIN = "boxes AP ↑", "segmentation mIoU ↑", "Δ mclgs % ↓", "Δ sta ↑"


def gather(folder, runs, **changes):
    """Collects {method: [(AP, mIoU) or None for a failed run, for each seed]}."""
    seeds = list(range(1, 1 + max(map(len, runs.values()))))
    changes = {"methods": {name: {} for name in runs}, **changes}
    folder.mkdir(exist_ok=True)
    comparison = made_up_comparison(folder, seeds=seeds, **changes)
    folders = {}
    for name, values in runs.items():
        folders[name] = {str(seed): comparison.output / name.replace(" ", "_") / str(seed) for seed in seeds}
        for seed, pair in enumerate(values, start=1):
            outcome = DONE if pair else Outcome(FAILED, "out of memory")
            write_run(folders[name][str(seed)], scores(*pair) if pair else None, outcome)
    return collect(comparison, folders)


EQUAL = [(10.0, 50.0), (20.0, 40.0), (30.0, 60.0)]
BETTER = [(10.9, 51.0), (21.0, 38.0), (31.1, 61.0)]  # AP by 0.9, 1, 1.1; mIoU by 1, -2, 1


@pytest.fixture
def collected(tmp_path):
    return gather(tmp_path, {"equal": EQUAL, "better": BETTER, "worse": [(5.0, 44.0), (15.0, 34.0), (25.5, 54.0)]})


def rows_of(collected):
    return {(row["method"], row["measure"]): row for row in csv.DictReader(io.StringIO(differences_csv(collected)))}


def test_differences_by_hand(collected):
    """AP: 1 with an error of 0.1 / sqrt 3, 4.3027 of which are 0.248. p of t = 10 sqrt 3 is 0.0033, of -29 0.0012."""
    table = difference_table(collected)
    assert table.title == "Differences from equal"
    assert list(table.cells.index) == ["better", "worse"]
    assert table.cells["common seeds"].map(lambda cell: cell.text).tolist() == ["3", "3"]
    better, worse = table.cells[AP]
    assert (better.text, better.detail, better.mark) == ("+1.00", "[+0.75, +1.25], p 0.003, better", "best")
    assert (worse.text, worse.detail, worse.mark) == ("-4.83", "[-5.55, -4.12], p 0.002, worse", "best")
    unclear = table.cells.loc["better", IOU]
    assert (unclear.text, unclear.detail, unclear.mark) == ("0.00", "[-4.30, +4.30], p 1.00", "")
    constant = table.cells.loc["worse", IOU]
    assert (constant.text, constant.detail) == ("-6.00", "[-6.00, -6.00], p < 0.001, worse")


def test_delta_is_one_of_the_columns_and_lower_is_better_where_it_is_a_drop(collected):
    cells = difference_table(collected).cells
    assert cells.loc["worse", DROP].text.startswith("+")
    assert cells.loc["worse", DROP].detail.endswith("worse")
    assert cells.loc["better", GAIN].text == "+0.50"  # the mean of 1 and 0
    assert {DROP, GAIN, "Δ cagrad % ↓", "Δ acc % ↑"} <= set(cells)


def test_the_file_has_the_same_numbers_unrounded(collected):
    rows = rows_of(collected)
    row = rows["better", AP]
    assert (row["reference"], row["seeds"], row["claimed"]) == ("equal", "3", "better")
    assert float(row["difference"]) == pytest.approx(1.0)
    assert float(row["p"]) == pytest.approx(1 - math.sqrt(300 / 302))
    assert float(row["p corrected"]) == pytest.approx(float(row["p"]))  # of two, the larger one
    worse = rows["worse", AP]
    assert float(worse["p corrected"]) == pytest.approx(2 * float(worse["p"]))
    assert rows["better", IOU]["claimed"] == ""


def test_all_forms_mark_the_same_numbers(collected):
    table = difference_table(collected)
    assert "**+1.00** [+0.75, +1.25], p 0.003, better |" in markdown([table], "Title", [])
    assert r"\textbf{+1.00} [+0.75, +1.25], p 0.003, better &" in latex([table], [])
    assert "<td><b>+1.00</b><br><small>[+0.75, +1.25], p 0.003, better</small></td>" in html(table)
    assert "p < 0.001" in markdown([table], "Title", [])
    assert "p &lt; 0.001, worse" in html(table)
    page = write_tables(collected).read_text()
    assert page.count("Differences from equal") == 2  # a link and a heading
    assert "<b>+1.00</b>" in page


def test_the_table_of_results_marks_by_the_same_test(tmp_path):
    """The mean AP of 21 is 1 above 20 with standard errors of 5.8, and better in every seed."""
    results = main_table(gather(tmp_path, {"equal": EQUAL, "better": BETTER})).cells
    assert [cell.mark for cell in results[AP]] == ["", "best"]
    assert [cell.mark for cell in results[IOU]] == ["", ""]


def test_runs_that_failed_and_values_that_are_nan_are_left_out_and_counted(tmp_path):
    runs = {"equal": [*EQUAL, (40.0, 50.0)], "better": [*BETTER, None], "gaps": [(math.nan, 55.0), *EQUAL[1:], None]}
    cells = difference_table(gather(tmp_path, runs)).cells
    assert cells["common seeds"].map(lambda cell: cell.text).tolist() == ["3", "3"]
    assert cells.loc["better", AP].text == "+1.00"  # the fourth seed of `equal` has no partner
    gaps = cells.loc["gaps", AP]
    assert (gaps.text, gaps.detail, gaps.mark) == ("0.00", "[0.00, 0.00], n = 2", "")
    assert cells.loc["gaps", IOU].detail.endswith("p 0.85")


@pytest.mark.parametrize(("count", "detail"), [(1, ""), (2, "[+0.31, +1.59]")], ids=str)
def test_fewer_than_three_common_seeds_claim_nothing(tmp_path, count, detail):
    """0.9 and 1: error 0.05, 12.706 of which are 0.6353."""
    cells = difference_table(gather(tmp_path, {"equal": EQUAL, "better": BETTER[:count]})).cells
    assert cells.loc["better", "common seeds"].text == str(count)
    assert (cells.loc["better", AP].detail, cells.loc["better", AP].mark) == (detail, "")


def test_the_reference_may_be_named_and_is_deltas_base_if_that_is_a_method(tmp_path):
    runs = {"equal": EQUAL, "better": BETTER}
    named = gather(tmp_path / "a", runs, reference="better")
    assert difference_table(named).title == "Differences from better"
    assert difference_table(named).cells.loc["equal", AP].detail.endswith("worse")
    assert difference_table(gather(tmp_path / "b", runs, delta={"base": "better"})).title == "Differences from better"
    baselines = {"methods": {"better": {}}, "baselines": {"equal": {}}}
    assert difference_table(gather(tmp_path / "c", runs, **baselines)).title == "Differences from better"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("equall", "reference is 'equall', which is none of 'equal', 'mclgs'; did you mean 'equal'?"),
        (["equal"], "reference must be a method's name, got ['equal']"),
    ],
    ids=["unknown", "list"],
)
def test_a_reference_that_is_no_method_is_a_mistake_of_the_file(tmp_path, given, line):
    with pytest.raises(ComparisonError, match="reference") as error:
        made_up_comparison(tmp_path, reference=given)
    assert len(str(error.value).splitlines()) == 2
    assert line in str(error.value)


def test_nothing_in_common_is_no_table(tmp_path):
    collected = gather(tmp_path, {"equal": [None, EQUAL[0]], "better": [BETTER[0], None]})
    assert difference_table(collected) is None
    assert rows_of(collected) == {}
    assert "Differences" not in write_tables(collected).read_text()


def test_runs_of_one_seed_that_are_there_twice_cannot_be_paired(tmp_path):
    twice = [str(write_run(tmp_path / name, scores(1.0, 2.0), DONE)) for name in "ab"]  # both say SEED: 3
    collected = gather(tmp_path, {"equal": EQUAL, "better": BETTER}, existing={"old": twice})
    table = difference_table(collected)
    assert list(table.cells.index) == ["better"]
    assert table.note.endswith(" Without a seed in common with equal: old.")


def test_costs_are_marked_by_the_same_test(tmp_path):
    """All runs of the two methods take the same time."""
    table = cost_table(gather(tmp_path, {"equal": EQUAL, "better": BETTER}))
    assert {cell.mark for cell in table.cells["minutes per run"]} == {""}
