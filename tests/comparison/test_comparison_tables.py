"""Tables and page of runs that never happened."""

import csv
import io
import json
import math
from html.parser import HTMLParser

import pandas as pd
import pytest
import yaml
from made_up import made_up_comparison, scores, write_run

from mtl_d2.comparison import curves
from mtl_d2.comparison.collect import collect
from mtl_d2.comparison.page import write_tables
from mtl_d2.comparison.render import latex, markdown, methods_csv, runs_csv
from mtl_d2.comparison.state import FAILED, FINISHED, Outcome
from mtl_d2.comparison.tables import Cell, Table, cosine_table, cost_table, grid_tables, main_table

DONE = Outcome(FINISHED, "", 2**30, 90.0)
DIVERGED = Outcome(FAILED, "update 7: the loss is not finite")


def gather(comparison, runs):
    """Collects runs: {method: {seed: (metrics, outcome)}}; a run that is not there was never started."""
    folders = {}
    for entry in comparison.entries:
        folders[entry.name] = {str(seed): comparison.output / entry.slug / str(seed) for seed in comparison.seeds}
        for seed, (metrics, outcome, *parameters) in runs.get(entry.name, {}).items():
            write_run(folders[entry.name][seed], metrics, outcome, parameters=next(iter(parameters), None))
    return collect(comparison, folders)


@pytest.fixture
def collected(tmp_path):
    runs = {
        "equal": {"1": (scores(20.0, 50.0), DONE), "2": (scores(22.0, 54.0), DONE)},
        "mclgs": {"1": (scores(25.0, 51.0), DONE), "2": (scores(90.0, 90.0), DIVERGED)},
    }
    return gather(made_up_comparison(tmp_path), runs)


def lines(table):
    return {name: list(row) for name, row in table.cells.iterrows()}


def test_means_errors_counts_and_marks_by_hand(collected):
    table = main_table(collected)
    assert (table.corner, *table.cells.columns[:3]) == ("method", "runs", "boxes AP ↑", "segmentation mIoU ↑")
    equal, mclgs = lines(table)["equal"], lines(table)["mclgs"]
    assert (equal[1].text, equal[1].error, equal[1].mark) == ("21.00", "1.00", "")
    assert (mclgs[1].text, mclgs[1].error, mclgs[1].mark) == ("25.00", "", "")  # a single run is no evidence
    assert (equal[2].text, equal[2].error, equal[2].mark) == ("52.00", "2.00", "")
    assert mclgs[0].text == "1 of 2 (1 failed)"


def test_seconds_of_processes_that_were_killed_are_those_of_the_log(tmp_path):
    """Nobody was there to time them: of 4 updates of 0.5 s the outcome knows of one second, or of all and the start."""
    runs = {"equal": {"1": (scores(20.0, 50.0), Outcome(FINISHED, "", 1, 1.0)), "2": (scores(20.0, 50.0), DONE)}}
    records = gather(made_up_comparison(tmp_path), runs).rows[0].records
    assert [record.seconds for record in records] == [2.0, 90.0]


def test_delta_by_hand_against_the_first_method(collected):
    """AP 25 against 21 and mIoU 51 against 52: -(4 / 21 - 1 / 52) / 2 in percent, or (4 - 1) / 2."""
    table = main_table(collected)
    mclgs = table.cells.loc["mclgs"]
    assert mclgs["Δ mclgs % ↓"].text == f"{-50 * (4 / 21 - 1 / 52):.2f}"
    assert mclgs["Δ sta ↑"].text == "1.50"
    assert table.cells.loc["equal"]["Δ sta ↑"].text == "0.00"


def test_a_diverged_run_is_in_every_table_with_its_reason(collected):
    tables = [main_table(collected), cost_table(collected)]
    for text in (markdown(tables, "Title", collected.notes), latex(tables, collected.notes)):
        assert text.count("1 of 2 (1 failed)") == 2
        assert "mclgs, seed 2: failed: update 7: the loss is not finite" in text
    row = list(csv.DictReader(io.StringIO(runs_csv(collected))))[3]
    assert (row["state"], row["reason"], row["bbox/AP"]) == (FAILED, "update 7: the loss is not finite", "")


def test_a_method_whose_runs_all_failed_keeps_its_row(tmp_path):
    runs = {"equal": {"1": (scores(20.0, 50.0), DONE)}, "mclgs": {"1": (None, DIVERGED), "2": (None, DIVERGED)}}
    collected = gather(made_up_comparison(tmp_path), runs)
    mclgs = lines(main_table(collected))["mclgs"]
    assert [cell.text for cell in mclgs[:3]] == ["0 of 2 (2 failed)", "failed", "failed"]
    assert lines(main_table(collected))["equal"][0].text == "1 of 2 (1 not started)"


def test_baselines_are_the_base_of_delta(tmp_path):
    comparison = made_up_comparison(tmp_path, seeds=[1], baselines={"boxes": {}, "masks": {}})
    runs = {
        "equal": {"1": (scores(26.31, 51.82), DONE)},
        "boxes": {"1": ({"bbox": {"AP": 25.37}}, DONE)},
        "masks": {"1": ({"sem_seg": {"mIoU": 49.66}}, DONE)},
    }
    table = main_table(gather(comparison, runs))
    equal = table.cells.loc["equal"]
    assert equal["Δ mclgs % ↓"].text == "-4.03"
    assert lines(table)["boxes"][2].text == "–"


SEGNETS = {"semantic": 24_981_069, "depth": 24_980_289, "normals": 24_980_419}  # of one task, as MTAN has them
MTAN = 44_229_073


def sized(tmp_path, **sizes):
    """Runs of models of some numbers of parameters; None: their results do not say it."""
    names = [name for name in sizes if name not in SEGNETS]
    comparison = made_up_comparison(
        tmp_path, methods={name: {} for name in names}, baselines={n: {} for n in sizes if n in SEGNETS} or None
    )
    runs = {n: {seed: (scores(20.0, 50.0), DONE, size) for seed in ("1", "2")} for n, size in sizes.items()}
    return gather(comparison, runs)


def test_sizes_are_those_of_the_papers_table(tmp_path):
    """MCLGS, table 3: 1.77 for MTAN, and 3 for the three single-task models together."""
    collected = sized(tmp_path, mtan=MTAN, old=None, **SEGNETS)
    table = main_table(collected)
    assert list(table.cells.columns[:2]) == ["runs", "#P"]
    assert [cell.whole for cell in table.cells["#P"]] == ["1.77", "–", "1.00", "1.00", "1.00"]
    assert {cell.mark for cell in table.cells["#P"]} == {""}
    rows = list(csv.DictReader(io.StringIO(methods_csv(collected))))
    assert sum(float(row["#P"]) for row in rows if row["method"] in SEGNETS) == pytest.approx(3)
    assert [row["parameters"] for row in csv.DictReader(io.StringIO(runs_csv(collected)))][:3] == [str(MTAN)] * 2 + [""]
    assert r"\#P" in latex([table], [])


@pytest.mark.parametrize("sizes", [{}, {"depth": None}, {"depth": 5, "normals": None}], ids=["no", "old", "one old"])
def test_no_sizes_without_those_of_all_single_task_models(tmp_path, sizes):
    table = main_table(sized(tmp_path, mtan=MTAN, **sizes))
    assert "#P" not in table.cells
    assert "#P" not in table.note


def test_values_can_be_the_base_of_delta(tmp_path):
    comparison = made_up_comparison(tmp_path, seeds=[1], delta={"base": {"bbox/AP": 25.37, "sem_seg/mIoU": 49.66}})
    table = main_table(gather(comparison, {"equal": {"1": (scores(26.31, 51.82), DONE)}}))
    assert table.cells.loc["equal"]["Δ mclgs % ↓"].text == "-4.03"


def test_a_metric_that_no_run_has_is_told_and_nan_is_left_out(tmp_path):
    comparison = made_up_comparison(tmp_path, metrics=["bbox/AP", "segm/AP"])
    runs = {"equal": {"1": (scores(math.nan, 50.0), DONE), "2": (scores(20.0, 50.0), DONE)}}
    collected = gather(comparison, runs)
    assert lines(main_table(collected))["equal"][1].text == "20.00 (of 1)"
    assert any("No finished run has the metric segm/AP; there are bbox/AP" in note for note in collected.notes)
    assert any("No Delta: its base, equal, has no segm/AP" in note for note in collected.notes)


def test_grids_have_a_row_and_a_column_for_each_value_and_show_failures(tmp_path):
    values = {"MTL.GRADIENT.MCLGS.A0": [40, 80], "MTL.GRADIENT.MCLGS.R_T": [2, 1]}
    comparison = made_up_comparison(tmp_path, methods=None, seeds=[1], grids={"mclgs": {"values": values}})
    runs = {
        "mclgs A0=40 R_T=2": {"1": (scores(20.0, 50.0), DONE)},
        "mclgs A0=40 R_T=1": {"1": (scores(25.0, 50.0), DONE)},
        "mclgs A0=80 R_T=2": {"1": (None, DIVERGED)},
    }
    table = grid_tables(gather(comparison, runs))[0]
    assert (table.corner, *table.cells.columns) == ("A0 \\ R_T", "2", "1")
    assert {name: [cell.text for cell in row] for name, row in lines(table).items()} == {
        "40": ["20.00", "25.00"],
        "80": ["failed", "not started"],
    }
    worst, best = lines(table)["40"]
    assert worst.shade == 0
    assert (best.shade, best.mark) == (1, "")  # the best by a single run


def test_values_of_a_grid_may_be_lists(tmp_path):
    values = {"SOLVER.STEPS": [[100], [100, 200]], "SOLVER.GAMMA": [0.1, 0.5]}
    comparison = made_up_comparison(tmp_path, methods=None, grids={"steps": {"values": values}})
    runs = {"steps STEPS=[100, 200] GAMMA=0.5": {"1": (scores(20.0, 50.0), DONE)}}
    table = grid_tables(gather(comparison, runs))[0]
    assert list(table.cells.index) == ["[100]", "[100, 200]"]
    assert table.cells.loc["[100, 200]", "0.5"].text == "20.00 (of 1)"  # and there are two seeds


def test_cost_and_cosines_by_hand(collected):
    cost = lines(cost_table(collected))["equal"]
    assert [cell.text for cell in cost[1:]] == ["0.5000", "1.5", "1024"]
    cosines = lines(cosine_table(collected))["equal"]
    assert list(cosine_table(collected).cells) == ["a_b: mean", "a_b: σ", "level, a_b: mean", "level, a_b: σ"]
    # Of 0, .1, .2, .3, and of -2 times that.
    assert [cell.text for cell in cosines] == ["0.150", "0.112", "-0.300", "0.224"]


def test_folders_of_other_runs_need_no_config_and_no_outcome(tmp_path):
    whole = write_run(tmp_path / "whole", scores(30.0, 60.0))
    short = write_run(tmp_path / "short", scores(30.0, 60.0))
    (short / "config.yaml").write_text("SOLVER: {MAX_ITER: 100}")
    comparison = made_up_comparison(
        tmp_path, base=None, seeds=None, methods=None, existing={"old": [str(whole), str(short)]}
    )
    collected = collect(comparison, {})
    assert lines(main_table(collected))["old"][0].text == "1 of 2 (1 failed)"
    assert lines(main_table(collected))["old"][1].text == "30.00"
    assert any("its log ends at update 4 of 100" in note for note in collected.notes)


class Tags(HTMLParser):
    """Counts tags, and keeps what comes from elsewhere."""

    def __init__(self):
        super().__init__()
        self.counts, self.foreign = {}, []

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.foreign += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]


def test_the_page_is_one_file_with_tables_and_curves_with_bands(collected):
    page = write_tables(collected).read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.foreign == []
    assert page.count('<svg viewBox="0 0 400 230" role="img"') == 4  # total loss, cosine, weight, angles
    assert page.count('class="band') == 3  # one method has two runs
    assert "update 7: the loss is not finite" in page
    names = {path.name for path in collected.comparison.output.iterdir() if path.is_file()}
    files = {"comparison.html", "comparison.md", "comparison.tex", "comparison.csv", "differences.csv", "runs.csv"}
    assert names == files


def test_angles_of_a_methods_finished_runs_are_in_one_histogram(collected, monkeypatch):
    seen = {}
    draw = lambda values, **_: seen.update(zip(["equal", "mclgs"], values, strict=True)) or ""  # noqa: E731
    monkeypatch.setattr(curves, "angle_histogram", draw)
    (section,) = (s for s in curves.curve_sections(collected) if s.anchor == "angles")
    assert "Angles, a_b" in section.body
    assert sorted(seen["equal"]) == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    assert list(seen["mclgs"]) == pytest.approx([0, 0.1, 0.2, 0.3])  # the other run diverged


def test_a_comparison_of_which_nothing_has_run_has_a_page(tmp_path):
    page = write_tables(gather(made_up_comparison(tmp_path), {})).read_text()
    assert "No run is finished yet" in page


def test_names_and_reasons_do_not_become_markup(tmp_path):
    comparison = made_up_comparison(tmp_path, title="<script>", seeds=[1])
    collected = gather(comparison, {"equal": {"1": (None, Outcome(FAILED, "<img src=x> 50% & a_b"))}})
    assert "<img" not in write_tables(collected).read_text()


def test_letters_that_tex_takes_for_commands_are_escaped():
    table = Table("50 % & more", pd.DataFrame({"#": {"x_y": Cell("1.0", "0.5", "best")}}), "a_b ↑")
    text = latex([table], [])
    assert r"50 \% \& more" in text
    assert r"a\_b $\uparrow$ & \#" in text
    assert r"x\_y & \textbf{1.0 $\pm$ 0.5} \\" in text


def test_numbers_for_other_programs_are_not_rounded(collected):
    row = next(iter(csv.DictReader(io.StringIO(methods_csv(collected)))))
    assert float(row["boxes AP ↑ standard error"]) == pytest.approx(1.0)
    assert (row["runs"], row["finished"], row["boxes AP ↑ runs"]) == ("2", "2", "2")


def test_accuracies_are_tasks_and_their_mean_and_other_test_sets_do_not_count(tmp_path):
    comparison = made_up_comparison(tmp_path, seeds=[1])
    base = {"accuracy": {"left": 80.0, "right": 50.0, "harmonic_mean": 61.5}, "accuracy@val": {"left": 10.0}}
    better = {"accuracy": {"left": 88.0, "right": 50.0, "harmonic_mean": 63.8}, "accuracy@val": {"left": 90.0}}
    table = main_table(gather(comparison, {"equal": {"1": (base, DONE)}, "mclgs": {"1": (better, DONE)}}))
    assert list(table.cells)[1:4] == ["accuracy left ↑", "accuracy right ↑", "accuracy harmonic_mean ↑"]
    assert table.cells.loc["mclgs"]["Δ acc % ↑"].text == "5.00"


def test_a_runs_own_row_counts_wherever_it_stands(tmp_path):
    comparison = made_up_comparison(tmp_path, seeds=[1])
    collected = gather(comparison, {"equal": {"1": (scores(38.2, 50.0), DONE)}})
    folder = comparison.output / "equal" / "1"
    rows = {"old": {"bbox": {"AP": 1.0}}, "mine": {"bbox": {"AP": 38.2}}, "constant": {"bbox": {"AP": 3.4}}}
    (folder / "results.json").write_text(json.dumps(rows | {"own_row": "mine"}))
    collected = collect(comparison, {"equal": {"1": folder}, "mclgs": {}})
    assert lines(main_table(collected))["equal"][1].text == "38.20"


def test_a_metric_that_is_nan_is_shown_with_its_reason_and_is_no_dash(tmp_path):
    comparison = made_up_comparison(tmp_path, seeds=[1, 2])
    nothing = {"bbox": {"AP": None}, "sem_seg": {"mIoU": 51.0}}
    runs = {
        "equal": {"1": (scores(20.0, 50.0), DONE), "2": (scores(22.0, 50.0), DONE)},
        "mclgs": {"1": (nothing, DONE), "2": (nothing, DONE)},
    }
    collected = gather(comparison, runs)
    table = main_table(collected)
    assert [cell.text for cell in lines(table)["mclgs"][:4]] == ["2", "nan", "51.00", "–"]
    assert "No Δ: mclgs (bbox/AP nan)." in table.note
    assert any(note.startswith("mclgs, seeds 1, 2: bbox/AP nan: there was nothing") for note in collected.notes)
    row = list(csv.DictReader(io.StringIO(runs_csv(collected))))[2]
    assert (row["method"], row["bbox/AP"]) == ("mclgs", "nan")


def test_a_delta_that_would_divide_by_zero_says_so(tmp_path):
    runs = {"equal": {"1": (scores(0.0, 50.0), DONE)}, "mclgs": {"1": (scores(20.0, 51.0), DONE)}}
    table = main_table(gather(made_up_comparison(tmp_path, seeds=[1]), runs))
    mclgs = table.cells.loc["mclgs"]
    assert (mclgs["Δ mclgs % ↓"].text, mclgs["Δ sta ↑"].text) == ("–", "10.50")
    assert "mclgs (mclgs, cagrad, acc: bbox/AP of the base is 0, and is divided by)" in table.note


def test_tiny_percentages_are_zero_and_nobodys_best(tmp_path):
    runs = {"equal": {"1": (scores(0.00004, 50.0), DONE)}, "mclgs": {"1": (scores(0.0, 50.0), DONE)}}
    table = main_table(gather(made_up_comparison(tmp_path, seeds=[1]), runs))
    assert [(line[1].text, line[1].mark, line[2].mark) for line in lines(table).values()] == [("0.00", "", "")] * 2


def test_what_a_run_says_of_its_results_is_said_once_with_the_runs(tmp_path):
    comparison = made_up_comparison(tmp_path)
    done = {seed: (scores(20.0, 50.0), DONE) for seed in ("1", "2")}
    collected = gather(comparison, {"equal": done, "mclgs": done})
    folders = [comparison.output / name / seed for name in ("equal", "mclgs") for seed in ("1", "2")]
    config = {"MTL": {"TASKS": ["detection", "instance"], "GRADIENT": {"AGGREGATOR": "mean", "SCALE": "sum"}}}
    for folder in folders[:3]:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        results = {"own": scores(20.0, 50.0), "notes": ["val: failed"], "definitions": {"bbox": "AP by pycocotools"}}
        (folder / "results.json").write_text(json.dumps(results))
    collected = collect(comparison, {n: {s: comparison.output / n / s for s in ("1", "2")} for n in ("equal", "mclgs")})
    notes = [note for note in collected.notes if "not evaluated" in note or "failed" in note]
    assert notes[0] == "equal, seeds 1, 2; mclgs, seed 1: val: failed"
    assert main_table(collected).note.endswith(" boxes: AP by pycocotools.")
    assert notes[1].startswith("equal, seeds 1, 2; mclgs, seed 1: 'instance' is trained and not evaluated")
    assert "sum, set as mean (scale sum)" in write_tables(collected).read_text()
