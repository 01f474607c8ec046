"""What a search may say, what it costs against its budget, and that mistakes are told before the first trial."""

import re

import pytest
import yaml
from made_up import made_up_comparison
from searching import NAME, UPDATES, plan, searching

from mtl_d2.comparison import plan as planning
from mtl_d2.comparison import search_plan
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.data import DataError

pytestmark = pytest.mark.filterwarnings("ignore")
GRID = {"mclgs": {"overrides": {"MTL.GRADIENT.RESCALE": "mclgs"}, "values": {"MTL.GRADIENT.MCLGS.A0": [2.0, 5.0]}}}


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.setattr(planning, "check_data", lambda cfg: None)
    monkeypatch.setattr(search_plan, "rehearse", lambda cfg: None)


def refusal(tmp_path, search, **changes):
    with pytest.raises(ComparisonError) as error:
        plan(tmp_path, search, **changes)
    return str(error.value)


def test_trials_are_ordinary_runs_that_differ_from_the_winners_by_seed_and_folder_alone(tmp_path):
    planned = plan(tmp_path, {"candidates": 2})
    first, second = planned.trials
    assert first.run.folder == tmp_path / "out" / "best_weights" / "trials" / "1"
    config = yaml.safe_load(first.run.config)
    assert config["MTL"]["SCALARIZATION"]["NAME"] == "fixed"
    assert config["MTL"]["SCALARIZATION"]["FIXED"]["WEIGHTS"] == list(first.weights) != list(second.weights)
    assert config["SOLVER"]["MAX_ITER"] == UPDATES
    assert [run.seed for run in planned.finals["1"]] == [2, 3]
    final = yaml.safe_load(planned.finals["1"][0].config)
    assert (final.pop("SEED"), config.pop("SEED")) == (2, 1)
    assert (final.pop("OUTPUT_DIR"), config.pop("OUTPUT_DIR")) == (
        str(tmp_path / "out" / "best_weights" / "2"),
        str(first.run.folder),
    )
    assert final == config
    assert first.up_to(40).arguments == ("--stop-after", "40")


@pytest.mark.parametrize(
    ("search", "count", "cost"),
    [
        ({}, 8, 10),  # 10 whole runs: 8 trials, of which one is a run of the winner, and 2 more of it
        ({"seed": 7}, 7, 10),  # no trial has a seed of the winner's three runs
        ({"budget": "equal", "candidates": 1}, 1, 3),
        ({"budget": "mclgs"}, 4, 6),  # 2 cells x 3 seeds
        ({"budget": None}, 4, 6),  # the grid is what costs most
        ({"budget": 6 * UPDATES + 79}, 4, 6),
        ({"by": "halving", "budget": "mclgs", "candidates": 8}, 8, 2 + 2.5),
    ],
)
def test_the_budget_is_kept_to_the_update(tmp_path, search, count, cost):
    planned = plan(tmp_path, search, grids=GRID)
    assert len(planned.trials) == count
    assert planned.cost == cost * UPDATES <= planned.budget


def test_the_first_seed_is_that_of_the_trials_and_the_draws(tmp_path):
    first = plan(tmp_path, {}, seeds=[4, 2])
    assert first.trials[0].run.seed == 4
    assert [trial.weights for trial in plan(tmp_path, {"seed": 4}, seeds=[1]).trials[:8]] == [
        trial.weights for trial in first.trials[:8]
    ]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"weights": {"class_left": [0.0, 1.0]}}, "weights of class_left must be > 0, got [0.0, 1.0]"),
        ({"weights": {"class_left": [1.0, 2.0], "class_right": -1}}, "weights of class_right must be > 0, got -1"),
        ({"weights": {"class_left": [2.0, 1.0]}}, "LEAST < MOST, got [2.0, 1.0]"),
        ({"weights": {"class_left": [1, 2, 3]}}, "must be a number or a range [LEAST, MOST], got [1, 2, 3]"),
        ({"weights": {"class_left": 2}}, "weights has no range"),
        ({"weights": None}, "weights must be a range [LEAST, MOST] of at least one task"),
        ({"by": "rnd"}, "by is 'rnd', which is none of 'random', 'grid', 'halving'"),
        ({"budget": 0}, "a number of updates >= 1; got 0"),
        ({"budget": True}, "a number of updates >= 1; got True"),
        ({"candidates": 0}, "candidates must be a whole number >= 1, got 0"),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"select": ["a/b"]}, "select must be one criterion"),
        ({"wieghts": 1}, "did you mean 'weights'?"),
        ({"overrides": {"MTL.SCALARIZATION": {"NAME": "stch"}}}, "has MTL.SCALARIZATION.NAME, which the search sets"),
        ({"overrides": {"SEED": 1}}, "sets SEED, which the comparison sets by itself"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, search, message):
    with pytest.raises(ComparisonError, match=re.escape(message)):
        made_up_comparison(tmp_path, **searching(search))


def test_a_search_is_a_row_and_its_name_is_no_other_ones(tmp_path):
    comparison = made_up_comparison(tmp_path, **searching({}, baselines={"alone": {}}))
    assert [entry.name for entry in comparison.entries] == ["equal", NAME, "alone"]
    with pytest.raises(ComparisonError, match=f"two methods are named '{NAME}'"):
        made_up_comparison(tmp_path, **searching({}, methods={NAME: {}}))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"weights": {"left": [0.1, 1.0]}}, "weights is 'left', which is none of 'class_left', 'class_right'"),
        ({"weights": {"class_left": [0.1, 1.0], "class_right": [0.1, 1.0]}}, "give one of them a number"),
        ({"budget": "equl"}, "budget is 'equl', which is none of 'equal'; did you mean 'equal'?"),
        ({"budget": "equal"}, "the budget 240 (equal) leaves nothing to search with: 2 candidates cost 160 updates "
         "and the winner's other 2 runs 160: give a budget of at least 320"),
        ({"candidates": 9}, "candidates: 9 cost 720 updates and the winner's other 2 runs 160, but the budget 800 is "
         "less than 880: give at most 8 candidates, or a budget of at least 880"),
        ({"overrides": {"MTL.LOG_PERIODS": 1}}, "did you mean MTL.LOG_PERIOD?"),
        ({"select": "accuracy/class_left, accuracy/class_right"}, "select must be one criterion"),
        ({"select": None}, "select must be one criterion"),
        ({"select": "harmonic_mean"}, "select must be 'group/metric'"),
        ({"select": "delta"}, "delta"),
    ],
)  # fmt: skip
def test_a_mistake_that_the_config_shows_is_named_with_the_search(tmp_path, search, message):
    said = refusal(tmp_path, search)
    assert message in said
    assert f"searches: {NAME}: " in said


def test_a_grid_has_as_many_points_on_each_range(tmp_path):
    search = {"by": "grid", "weights": {"class_a": [0.1, 1.0], "class_b": [0.1, 1.0]}, "candidates": 3}
    three = {"MTL": {"TASKS": ["class_a", "class_b", "class_c"], "DATA.VALIDATION_SHARE": 0.05, "SELECT_BY": ""}}
    said = refusal(tmp_path, search, overrides=three)
    assert "candidates of a grid over 2 ranges must be p^2 for a whole p, got 3" in said


@pytest.mark.parametrize(
    ("mtl", "message"),
    [
        ({"SELECT_BY": "", "DATA.VALIDATION_SHARE": 0.0}, "MTL.DATA.VALIDATION_SHARE is 0"),
        ({"SELECT_BY": "accuracy/class_left", "SELECT_ON": "test", "DATA.VALIDATION_SHARE": 0.05},
         "would choose the models, and so the weights, on the test sets: set MTL.SELECT_ON to 'validation'"),
    ],
)  # fmt: skip
def test_weights_that_the_test_sets_would_choose_are_refused(tmp_path, mtl, message):
    assert message in refusal(tmp_path, {}, overrides={"MTL": mtl})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"MTL.DATA.VALIDATION_SHARE": 0.0},
         "MTL.DATA.VALIDATION_SHARE is 0.05 here and 0.0 in other, equal too, which are then trained on other images: "
         "set it in `overrides`, for all methods"),
        ({"MTL": {"SELECT_BY": "accuracy/class_left", "SELECT_ON": "test"}, "TEST.EVAL_PERIOD": 10},
         "other, equal too choose their models by the test sets, as no search may: set their MTL.SELECT_ON to "
         "'validation'"),
    ],
)  # fmt: skip
def test_methods_that_choose_or_train_on_what_the_search_may_not_are_refused(tmp_path, method, message):
    said = refusal(tmp_path, {}, methods={"equal": {}, "other": method, "equal too": method})
    assert f"searches: {NAME}: {message}" in said


def test_a_budget_that_is_both_a_methods_and_a_grids_is_told(tmp_path):
    methods = {"equal": {}, "mclgs": {"MTL.GRADIENT.RESCALE": "mclgs"}}
    said = refusal(tmp_path, {"budget": "mclgs"}, methods=methods, grids=GRID)
    assert "budget is 'mclgs', which is both a method and a grid: name one of them otherwise, or give a number" in said
    planned = plan(tmp_path, {"budget": None}, methods=methods, grids=GRID)
    assert (planned.budget, planned.budget_of) == (2 * 3 * UPDATES, "mclgs")


def test_what_the_held_out_images_do_not_give_is_told_as_the_searchs_own(tmp_path, monkeypatch):
    def rehearse(cfg):
        assert (cfg.MTL.SELECT_BY, cfg.MTL.SELECT_ON, cfg.DATASETS.TEST) == ("accuracy/x", "validation", ())
        raise DataError("MTL.SELECT_BY: 'accuracy/x' is no metric of the images held out")

    monkeypatch.setattr(search_plan, "rehearse", rehearse)
    said = refusal(tmp_path, {"select": "accuracy/x"})
    assert f"searches: {NAME}: select: 'accuracy/x' is no metric of the images held out" in said


def test_a_criterion_that_the_runs_are_chosen_by_need_not_be_said_again(tmp_path):
    mtl = {"SELECT_BY": "accuracy/class_left", "SELECT_ON": "validation", "DATA.VALIDATION_SHARE": 0.05}
    planned = plan(tmp_path, {"select": None}, overrides={"MTL": mtl, "TEST.EVAL_PERIOD": 10})
    assert planned.criterion.text == "accuracy/class_left"
