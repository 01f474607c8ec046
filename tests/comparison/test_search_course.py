"""How a search goes on by what its trials left: who is judged where, who wins, and what it has cost."""

import math
import re
import sys
from pathlib import Path

import pytest
import yaml
from searching import NAME, UPDATES, plan, write_made

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import compare

from mtl_d2.comparison import plan as planning
from mtl_d2.comparison import search_plan
from mtl_d2.comparison.collect import collect_all
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.page import write_tables
from mtl_d2.comparison.search_course import next_runs, passed_by, record, standing, trial_result, waves
from mtl_d2.comparison.search_record import has_others, read_record
from mtl_d2.comparison.search_table import summary
from mtl_d2.comparison.spec import read_comparison
from mtl_d2.comparison.state import CONFIG, FAILED, INTERRUPTED, Outcome, read_outcome

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.setattr(planning, "check_data", lambda cfg: None)
    monkeypatch.setattr(search_plan, "rehearse", lambda cfg: None)


def made(planned, updates, scores, **outcome):
    """Trials by number have come so far, with these scores."""
    for number, score in scores.items():
        write_made(planned.trials[number - 1].run.folder, updates, score, **outcome)


def names(trials):
    return [trial.name for trial in trials]


def where(planned):
    now = standing(planned)
    return (now.rung.updates if now.rung else None), names(now.trials)


def test_halving_an_odd_number_by_hand(tmp_path):
    """Of 5 go 3 on, of 3 go 2, of 2 one; of equal ones the first."""
    planned = plan(tmp_path, {"by": "halving", "candidates": 5})
    assert where(planned) == (5 * 2, ["1", "2", "3", "4", "5"])
    made(planned, 10, {1: 30.0, 2: 20.0, 3: 20.0, 4: 40.0})
    assert where(planned) == (10, ["1", "2", "3", "4", "5"])  # one is missing
    made(planned, 10, {5: 20.0})
    assert where(planned) == (20, ["1", "2", "4"])
    made(planned, 20, {1: 10.0, 2: 50.0, 4: 50.0})
    assert where(planned) == (40, ["2", "4"])
    made(planned, 40, {2: 60.0, 4: 61.0})
    assert where(planned) == (80, ["4"])
    made(planned, 80, {4: 1.0})
    assert standing(planned).winner is planned.trials[3]
    assert [run.label for run in next_runs(planned)] == [f"{NAME}, seed 2", f"{NAME}, seed 3"]
    assert record(planned).spent == 3 * 10 - 1 * 10 + 20 + 40 + 80  # 3 and 5 made 10, 1 made 20, 2 40 and 4 all
    for run in next_runs(planned):
        write_made(run.folder, 80)
    assert record(planned).spent == planned.cost == 160 + 2 * 80


def test_trials_that_the_file_no_longer_has_are_told_of(tmp_path):
    planned = plan(tmp_path, {"candidates": 3})
    made(planned, UPDATES, {1: 1.0, 2: 2.0, 3: 3.0})
    fewer = plan(tmp_path, {"candidates": 2})
    assert (record(fewer).spent, record(fewer).left) == (2 * UPDATES, UPDATES)
    assert f"{UPDATES} more were made by trials and runs that are not part" in summary(record(fewer))


@pytest.mark.parametrize("before", [{"candidates": 5, "by": "random"}, {"candidates": 2, "by": "halving"}])
def test_trials_that_other_rungs_were_asked_of_before_are_told_and_kept_as_they_are(tmp_path, before):
    """They are past where they would be judged now, and cannot go back there."""
    ladder = plan(tmp_path, before).ladder
    planned = plan(tmp_path, {"by": "halving", "candidates": 5})
    for rung in ladder:
        made(planned, rung.updates, {1: 1.0, 2: 2.0})
    at = "10, 20, 40" if before["by"] == "random" else "10, 20"
    why = f"it has made {UPDATES} updates and was not judged after {at} of them, where the search judges now"
    labels = [trial.run.label for trial in planned.trials]
    assert passed_by(planned) == dict.fromkeys(labels[:2], why)
    with pytest.raises(ComparisonError, match=re.escape(f"{labels[0]}: {why}")):
        compare.prepare([trial.run for trial in planned.trials], rerun_changed=False, also=passed_by(planned))
    assert read_outcome(planned.trials[0].run.folder).state == "finished"
    compare.prepare([trial.run for trial in planned.trials], rerun_changed=True, also=passed_by(planned))
    assert passed_by(planned) == {}
    assert where(planned) == (10, ["1", "2", "3", "4", "5"])


def test_trials_on_their_way_are_past_no_rung(tmp_path):
    planned = plan(tmp_path, {"by": "halving", "candidates": 5})
    made(planned, 10, {1: 5.0, 2: 4.0, 3: 3.0, 4: 2.0, 5: 1.0})
    made(planned, 15, {1: None}, outcome=Outcome(INTERRUPTED))
    assert passed_by(planned) == {}


def test_runs_of_an_earlier_winner_are_none_of_the_row(tmp_path):
    """Of two candidates the second won and was trained with all seeds; then there is a third, and it is better."""
    planned = plan(tmp_path, {"candidates": 2}, metrics=["accuracy/class_left"])
    made(planned, UPDATES, {1: 1.0, 2: 2.0})
    for run in planned.finals["2"]:
        write_made(run.folder, UPDATES)
        (run.folder / CONFIG).write_text(run.config)
    assert record(planned).finals == 2 * UPDATES

    more = plan(tmp_path, {"candidates": 3}, metrics=["accuracy/class_left"])
    for scores, winner in (({}, ""), ({3: 3.0}, "3")):
        made(more, UPDATES, scores)
        told = record(more)
        assert (told.winner, told.finals, told.left) == (winner, 0, 2 * UPDATES)
        collected = collect_all(read_comparison(tmp_path / "comparison_file.yaml"))
        row = next(row for row in collected.rows if row.entry.name == NAME)
        assert [record.seed for record in row.finished] == (["1"] if winner else [])
        assert f"{NAME}, seed 2: not started: the run in its folder has weights that were chosen before" in (
            collected.notes
        )
    run = more.finals["3"][0]
    (run.folder / CONFIG).write_text(run.config)
    assert (record(more).finals, record(more).left) == (UPDATES, UPDATES)


@pytest.mark.parametrize(("weights", "others"), [((2e-05, 1.99998), False), ((1.0, 1.0), True), (None, True)])
def test_runs_are_known_by_the_weights_that_they_were_started_with(tmp_path, weights, others):
    (tmp_path / CONFIG).write_text(yaml.safe_dump({"MTL": {"SCALARIZATION": {"FIXED": {"WEIGHTS": [2e-05, 1.99998]}}}}))
    assert has_others(tmp_path, weights) is others
    assert not has_others(tmp_path / "not_started", weights)


def test_a_lower_value_wins_where_lower_is_better(tmp_path):
    planned = plan(tmp_path, {"candidates": 3, "select": "accuracy/error"})
    made(planned, UPDATES, {1: 3.0, 2: 1.0, 3: 2.0})
    assert standing(planned).winner is planned.trials[1]


def test_trials_that_fail_or_have_no_value_lose_and_it_is_said(tmp_path):
    planned = plan(tmp_path, {"candidates": 4})
    made(planned, UPDATES, {1: math.nan, 2: 1.0, 4: 0.5})
    made(planned, 3, {3: None}, outcome=Outcome(FAILED, "the loss is not finite"))
    assert standing(planned).winner is planned.trials[1]
    told = record(planned)
    assert [trial.state for trial in told.trials] == ["finished", "chosen", "failed", "finished"]
    assert told.spent == 3 * UPDATES + 3
    notes = collect_all(read_comparison(tmp_path / "comparison_file.yaml")).notes
    assert f"{NAME}, trial 3 was lost: failed: the loss is not finite" in notes
    assert f"{NAME}, trial 1 was lost: finished: accuracy/harmonic_mean has no value" in notes


def test_a_whole_trial_that_failed_at_its_end_is_none(tmp_path):
    """Its results on the test sets are not complete."""
    planned = plan(tmp_path, {"candidates": 2})
    made(planned, UPDATES, {1: 9.0}, outcome=Outcome(FAILED, "an evaluation failed"))
    made(planned, UPDATES, {2: 1.0})
    assert standing(planned).winner is planned.trials[1]


def test_a_search_that_lost_all_its_trials_is_over_without_a_winner(tmp_path):
    planned = plan(tmp_path, {"by": "halving", "candidates": 2})
    made(planned, 3, {1: None, 2: None}, outcome=Outcome(FAILED, "no luck"))
    assert where(planned) == (None, [])
    assert next_runs(planned) == []
    assert record(planned).decided
    assert f"{NAME}: no candidate came to its end" in "\n".join(
        collect_all(read_comparison(tmp_path / "comparison_file.yaml")).notes
    )


def test_the_next_best_goes_on_where_all_that_went_on_were_lost(tmp_path):
    """Of 5 go 3, 2 and 1 on; the last one is lost, then the one that had stopped before it, and nobody is left."""
    planned = plan(tmp_path, {"by": "halving", "candidates": 5})
    made(planned, 10, {1: 5.0, 2: 4.0, 3: 3.0, 4: 2.0, 5: 1.0})
    made(planned, 20, {1: 3.0, 2: 5.0, 3: 4.0})
    made(planned, 40, {2: 5.0, 3: 4.0})
    made(planned, 50, {2: None}, outcome=Outcome(FAILED, "the loss is not finite"))
    assert where(planned) == (80, ["3"])
    assert [run.label for run in next_runs(planned)] == [f"{NAME}, trial 3, seed 1"]
    assert [trial.state for trial in record(planned).trials] == ["stopped", "failed", "goes on", "stopped", "stopped"]
    made(planned, 80, {3: 1.0})
    assert standing(planned).winner is planned.trials[2]
    assert record(planned).spent == 20 + 50 + 80 + 10 + 10
    made(planned, 60, {3: None}, outcome=Outcome(FAILED, "the loss is not finite"))
    assert where(planned) == (None, [])


def test_all_of_a_rung_but_the_last_may_be_lost(tmp_path):
    planned = plan(tmp_path, {"by": "halving", "candidates": 5})
    made(planned, 10, {1: 5.0, 2: 4.0, 3: 3.0, 4: 2.0, 5: 1.0})
    made(planned, 12, {1: None, 2: None, 3: None}, outcome=Outcome(FAILED, "the loss is not finite"))
    assert where(planned) == (20, ["4"])
    made(planned, 20, {4: 1.0})
    assert where(planned) == (40, ["4"])


def test_a_failed_trial_is_tried_again_as_long_as_nobody_has_gone_on(tmp_path):
    planned = plan(tmp_path, {"by": "halving", "candidates": 3})
    made(planned, 20, {1: 1.0, 2: 2.0})
    made(planned, 3, {3: None}, outcome=Outcome(FAILED, "no luck"))
    assert where(planned) == (40, ["1", "2"])
    assert names(standing(planned, retry_failed=True).trials) == ["1", "2", "3"]
    made(planned, 40, {2: 3.0})
    assert names(standing(planned, retry_failed=True).trials) == ["1", "2"]


def test_a_trial_that_goes_on_is_no_longer_finished_and_keeps_what_it_has_cost(tmp_path):
    planned = plan(tmp_path, {"by": "halving", "candidates": 2})
    made(planned, 40, {1: 1.0, 2: 2.0}, outcome=Outcome("finished", "", 7, 3.5))
    (run,) = next_runs(planned)
    told = trial_result(planned.trials[0].up_to(40), [planned])
    first, second = planned.trials[0].weights
    weights = f"class_left {first:g}, class_right {second:g}"
    assert told == f"accuracy/harmonic_mean 1.00 on held-out images after 40 updates with {weights}"
    assert (run.updates, run.arguments) == (80, ("--stop-after", "80"))
    assert read_outcome(run.folder) == Outcome(INTERRUPTED, "goes on to update 80", 7, 3.5)
    assert read_outcome(planned.trials[0].run.folder).state == "finished"
    assert next_runs(planned) == [run]


def test_waves_are_all_runs_once_each(tmp_path):
    planned = plan(tmp_path, {"by": "halving", "candidates": 2})
    scores = {"1": 5.0, "2": 4.0}
    course = []
    for wave in waves([], [planned]):
        course.append([(run.label.removeprefix(NAME), run.updates) for run in wave])
        for run in wave:
            write_made(run.folder, run.updates, scores.get(run.folder.name, 0.0) if run.arguments else None)
    assert course == [
        [(", trial 1, seed 1", 40), (", trial 2, seed 1", 40)],
        [(", trial 1, seed 1", 80)],
        [(", seed 2", 80), (", seed 3", 80)],
    ]


def test_waves_end_where_nothing_is_made(tmp_path):
    """As where processes are killed."""
    assert len(list(waves([], [plan(tmp_path, {"candidates": 2})]))) == 1


def test_the_row_has_the_winners_weights_and_its_trial_is_one_of_its_runs(tmp_path):
    planned = plan(tmp_path, {"candidates": 2}, metrics=["accuracy/class_left"])
    comparison = read_comparison(tmp_path / "comparison_file.yaml")
    record(planned)
    assert f"{NAME}: its trials are not over" in "\n".join(collect_all(comparison).notes)
    (row,) = (row for row in collect_all(comparison).rows if row.entry.name == NAME)
    assert row.entry.overrides == ()
    made(planned, UPDATES, {1: 1.0, 2: 2.0})
    record(planned)
    collected = collect_all(comparison)
    (row,) = (row for row in collected.rows if row.entry.name == NAME)
    assert dict(row.entry.overrides)["MTL.SCALARIZATION.FIXED.WEIGHTS"] == list(planned.trials[1].weights)
    folders = [planned.trials[1].run.folder, *(run.folder for run in planned.finals["2"])]
    assert [r.run.folder for r in row.records] == folders
    assert [r.outcome.state for r in row.records] == ["finished", "not started", "not started"]
    write_tables(collected)
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert f"## Search: {NAME}" in page
    assert "160 updates of trials and 0 of the winner's other runs, together 160, of a budget of 800" in page
    rows = (tmp_path / "out" / "runs.csv").read_text()
    assert "searched_weights,search_trials,search_updates,search_budget" in rows
    assert rows.count(",2,160,800,") == 3


def test_a_record_comes_back_and_another_versions_is_none(tmp_path):
    planned = plan(tmp_path, {"candidates": 2})
    assert read_record(planned.folder) is None
    assert record(planned) == read_record(planned.folder)
    (planned.folder / "search.json").write_text('{"trials": [], "rungs": [], "tasks": []}')
    assert read_record(planned.folder) is None
