"""What a comparison file may say, and that all of its mistakes come at once."""

import math
import re

import pytest
import yaml
from made_up import CONFIGS, made_up_comparison, write_file

from mtl_d2.comparison import plan, search_plan
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.plan import plan_runs
from mtl_d2.comparison.search_plan import plan_searches
from mtl_d2.comparison.spec import read_comparison


def mistakes(tmp_path, **changes):
    with pytest.raises(ComparisonError) as error:
        made_up_comparison(tmp_path, **changes)
    return str(error.value)


def test_nested_mappings_dotted_keys_and_lists_say_the_same(tmp_path):
    nested = {"MTL": {"GRADIENT": {"RESCALE": "mclgs", "AGGREGATOR": "mean"}}}
    dotted = {"MTL.GRADIENT.RESCALE": "mclgs", "MTL.GRADIENT.AGGREGATOR": "mean"}
    words = ["MTL.GRADIENT.RESCALE", "mclgs", "MTL.GRADIENT.AGGREGATOR", "mean"]
    entries = made_up_comparison(tmp_path, methods={"a": nested, "b": dotted, "c": words}).entries
    assert entries[0].overrides == entries[1].overrides == entries[2].overrides


def test_a_grid_is_a_method_for_each_cell(tmp_path):
    values = {"MTL.GRADIENT.MCLGS.A0": [40, 80], "MTL.GRADIENT.MCLGS.R_T": [2, 1, 0.5]}
    common = {"MTL.GRADIENT": {"RESCALE": "mclgs", "AGGREGATOR": "mean"}}
    comparison = made_up_comparison(tmp_path, methods=None, grids={"mclgs": {"overrides": common, "values": values}})
    assert len(comparison.entries) == 6
    assert comparison.entries[1].name == "mclgs A0=40 R_T=1"
    assert comparison.entries[1].overrides[-2:] == (("MTL.GRADIENT.MCLGS.A0", 40), ("MTL.GRADIENT.MCLGS.R_T", 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1, 2, 1]}, "seeds has 1 twice"),
        ({"seeds": []}, "seeds must be a list of at least one"),
        ({"seeds": [1, True]}, "whole numbers >= 0, got True"),
        ({"seeds": [-1]}, "whole numbers >= 0, got -1"),
        ({"methods": {}}, "methods must be a mapping of at least one name"),
        ({"methods": None}, "methods is empty"),
        ({"methods": {"a b": {}, "a_b": {}}}, "two methods are named 'a_b'"),
        ({"methods": {"../a": {}}}, "begin with a letter or digit"),
        ({"methods": {"a": {"SEED": 3}}}, "methods: a sets SEED"),
        ({"methods": {"a": "mclgs"}}, "methods: a must be a mapping"),
        ({"method": {"a": {}}}, "did you mean 'methods'?"),
        ({"base": "nowhere.yaml"}, "no file"),
        ({"base": None}, "base must be the config file"),
        ({"metrics": []}, "metrics must be a list of names"),
        ({"metrics": ["bbox/APP"]}, "did you mean bbox/AP?"),
        ({"metrics": ["AP"]}, "must be 'group/name'"),
        ({"metrics": {"a": ["bbox/AP"], "b": ["bbox/AP"]}}, "metrics has 'bbox/AP' twice"),
        ({"delta": {"base": "equl"}}, "did you mean 'equal'?"),
        ({"delta": {"conventions": ["mcgls"]}}, "did you mean 'mclgs'?"),
        ({"delta": {"base": {"bbox/AP": "high"}}}, "must be a finite number"),
        ({"grids": {"g": {"values": {"MTL.GRADIENT.MCLGS.A0": []}}}}, "must be a list of at least one value"),
        ({"grids": {"g": {"MTL.GRADIENT.MCLGS.A0": [1]}}}, "must have `values`"),
        ({"existing": {"old": ["nowhere"]}}, "nowhere is no folder"),
        ({"baselines": {"equal": {}}}, "two methods are named 'equal'"),
        ({"output": 5}, "output must be a folder, got 5"),
        ({"seeds": [[1], [1]]}, "whole numbers >= 0, got [1]"),
        ({"methods": {"a" * 256: {}}}, "at most 255"),
        ({"methods": {"comparison.HTML": {}}}, "may not end in .csv, .html, .md, .tex"),
        ({"delta": {"conventions": [["acc"]]}}, "delta: conventions is ['acc'], which is none of"),
        ({"delta": {"conventions": ["acc", "acc"]}}, "delta: conventions has 'acc' twice"),
        ({"delta": {"base": {"bbox/AP": math.nan}}}, "delta: base: bbox/AP must be a finite number, got nan"),
        ({"metrics": ["a/b"], "higher_is_better": ["a/b"], "lower_is_better": ["a/b"]},
         "a/b is in higher_is_better and in lower_is_better"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path, changes, message):
    assert message in mistakes(tmp_path, **changes)


def test_a_name_of_runs_that_exist_is_a_files_whatever_it_is(tmp_path):
    (tmp_path / "old").mkdir()
    entries = made_up_comparison(tmp_path, existing={"w/o: \u0394 a": [str(tmp_path / "old")]}).entries
    assert (entries[-1].name, entries[-1].slug) == ("w/o: \u0394 a", "w_o____a")


def test_all_mistakes_come_at_once(tmp_path):
    text = mistakes(tmp_path, seeds=[1, 1], metrics=["bbox/APP"], base="nowhere.yaml", delta={"base": "x"})
    assert text.count("\n  - ") == 4


def test_two_methods_of_one_name_are_not_one(tmp_path):
    path = write_file(tmp_path)
    path.write_text(path.read_text().replace("methods:\n", "methods:\n  equal: {}\n"))
    with pytest.raises(ComparisonError, match=r"'equal' is there twice \(line"):
        read_comparison(path)


def test_a_mapping_may_take_another_ones_keys(tmp_path):
    """YAML's "<<"."""
    path = write_file(tmp_path)
    path.write_text(
        path.read_text().replace("methods:\n", "methods:\n  a: &a {X.Y: 1, X.Z: 2}\n  b: {<<: *a, X.Z: 3}\n")
    )
    first, second = read_comparison(path).entries[:2]
    assert dict(first.overrides) == {"X.Y": 1, "X.Z": 2}
    assert dict(second.overrides) == {"X.Y": 1, "X.Z": 3}


def test_what_the_comparison_sets_by_itself_is_refused_on_the_command_line_as_in_the_file(tmp_path):
    comparison = made_up_comparison(tmp_path)
    with pytest.raises(ComparisonError) as error:
        plan_runs(comparison, ["SEED", "7", "MTL.LOG_PERIOD", "3", "OUTPUT_DIR", "elsewhere"])
    assert "KEY VALUE sets SEED, which the comparison sets by itself; use `seeds` of its file" in str(error.value)
    assert "KEY VALUE sets OUTPUT_DIR, which the comparison sets by itself; use `output` of its file" in str(
        error.value
    )


@pytest.mark.parametrize(("text", "message"), [("- 1", "must be a mapping"), ("a: [", "no YAML"), (None, "be read")])
def test_a_file_that_is_none_is_told(tmp_path, text, message):
    path = tmp_path / "file.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ComparisonError, match=message):
        read_comparison(path)


def test_unknown_keys_and_methods_of_configs_are_told_before_anything_runs_with_who_has_them(tmp_path):
    methods = {
        "typo": {"MTL.GRADIENT.RESCALLE": "mclgs"},
        "unknown": {"MTL.GRADIENT.AGGREGATOR": "meen"},
        "other": {"MTL.GRADIENT.AGGREGATOR": "meen"},
        "good": {},
    }
    comparison = made_up_comparison(tmp_path, methods=methods)
    with pytest.raises(ComparisonError) as error:
        plan_runs(comparison)
    text = str(error.value)
    assert "typo: no such config key: MTL.GRADIENT.RESCALLE (did you mean MTL.GRADIENT.RESCALE?)" in text
    assert "unknown, other: MTL.GRADIENT.AGGREGATOR is 'meen'" in text
    assert not comparison.output.exists()


def test_data_are_looked_at_for_each_method_that_reads_others(tmp_path, monkeypatch):
    """Labels of other folders and augmentations are of the data, learning rates are not."""
    looked_at = []
    monkeypatch.setattr(plan, "check_data", lambda cfg: looked_at.append(cfg.MTL.PSEUDO_LABELS.FOLDERS))
    methods = {"a": {}, "b": {"SOLVER.BASE_LR": 0.5}, "pseudo": {"MTL.PSEUDO_LABELS.FOLDERS": ["nowhere"]}}
    plan_runs(made_up_comparison(tmp_path, methods=methods))
    assert looked_at == [(), ("nowhere",)]


def test_the_comparisons_of_the_project_have_configs_that_make_sense(monkeypatch, forgotten):
    monkeypatch.setattr(plan, "check_data", lambda cfg: None)
    monkeypatch.setattr(search_plan, "rehearse", lambda cfg: None)
    paths = [path for path in (CONFIGS / "comparisons").glob("*.yaml") if not path.name.startswith("Base-")]
    assert paths
    for path in paths:
        comparison = read_comparison(path)
        planned = plan_runs(comparison)
        assert len(planned) == sum(not entry.searched for entry in comparison.entries) * len(comparison.seeds)
        assert len(plan_searches(comparison, planned)) == len(comparison.searches)


def test_the_example_of_the_page_is_planned_as_it_is_printed(tmp_path, monkeypatch, forgotten):
    monkeypatch.setattr(plan, "check_data", lambda cfg: None)
    monkeypatch.setattr(search_plan, "rehearse", lambda cfg: None)
    page = (CONFIGS.parent / "docs/comparing.md").read_text()
    text = page.split("## The file\n")[1].split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "comparison.yaml"
    path.write_text(text.replace("../sample_scenes_equal.yaml", str(CONFIGS / "sample_scenes_equal.yaml")))
    for folder in yaml.safe_load(text)["existing"]["SimpleTrainer"]:
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    comparison = read_comparison(path)
    planned = plan_runs(comparison)
    assert len(planned) == 3 * (2 + 6 + 1)  # seeds; methods, cells of the grid and the baseline
    assert [found.search.name for found in plan_searches(comparison, planned)] == ["best fixed weights"]


def test_a_file_says_what_differs_from_the_one_it_is_based_on(tmp_path):
    (tmp_path / "base").mkdir()
    below = write_file(tmp_path / "base", baselines={"alone": {"MTL.TASKS": ["semantic"]}})
    (tmp_path / "base" / "plain.yaml").write_text("VERSION: 2\n")
    below.write_text(below.read_text().replace(str(CONFIGS / "sample_scenes_equal.yaml"), "plain.yaml"))
    above = {
        "_BASE_": "base/comparison_file.yaml",
        "title": "above",
        "seeds": [7],
        "methods": {"equal": {"MTL.LOG_PERIOD": 3}, "more": {}},
    }
    path = tmp_path / "above.yaml"
    path.write_text(yaml.safe_dump(above))
    comparison, expected = read_comparison(path), read_comparison(below)
    assert [e.name for e in comparison.entries] == ["equal", "mclgs", "more", "alone"]
    assert comparison.entries[0].overrides == (("MTL.LOG_PERIOD", 3),)
    assert comparison.entries[1] == expected.entries[1]
    assert (comparison.title, comparison.seeds, comparison.output) == ("above", (7,), expected.output)
    assert comparison.base.samefile(expected.base)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: nowhere.yaml", "_BASE_ must be another comparison file, relative to above.yaml; got nowhere.yaml"),
        ("_BASE_: [1]", "_BASE_ must be another comparison file"),
        ("_BASE_: above.yaml", "which is based on above.yaml itself"),
        ("_BASE_: comparison_file.yaml\nmethod: {}", "did you mean 'methods'?"),
    ],
)
def test_a_file_with_a_wrong_base_is_told(tmp_path, text, message):
    write_file(tmp_path)
    (tmp_path / "above.yaml").write_text(text)
    with pytest.raises(ComparisonError, match=re.escape(message)):
        read_comparison(tmp_path / "above.yaml")


@pytest.mark.usefixtures("forgotten")
def test_kinds_of_ones_own_say_which_way_their_metrics_are_better(tmp_path):
    overrides = {"MTL.DATA.MODULES": [str(CONFIGS.parent / "docs/examples/saliency_task.py")]}
    metrics = ["saliency/mae", "saliency/f_measure"]
    comparison = made_up_comparison(tmp_path, overrides=overrides, metrics=metrics)
    assert [metric.higher for metric in comparison.metrics] == [False, True]
    overrides = {"MTL.DATA.MODULES": ["nowhere.py"]}
    assert "MTL.DATA.MODULES names 'nowhere.py': no such file" in mistakes(tmp_path, overrides=overrides)
