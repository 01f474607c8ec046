"""Several comparisons on one page of ranks, of runs that never happened."""

import math
import sys
from pathlib import Path

import pytest
import yaml
from made_up import CONFIGS, scores, write_run

from mtl_d2.comparison.collect import collect_all
from mtl_d2.comparison.data_sets import rank_all
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.spec import read_comparison
from mtl_d2.comparison.state import FAILED, FINISHED, Outcome

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tools")]

from rank_methods import main, parse  # noqa: E402

DONE = Outcome(FINISHED)


def data_set(folder, name, runs, **changes):
    """A comparison file with runs: {method: (AP, mIoU), one for both seeds, or None for failed ones}."""
    content = {
        "base": str(CONFIGS / "sample_scenes_equal.yaml"), "output": str(folder / name), "seeds": [1, 2],
        "methods": {method: {} for method in runs}, **changes,
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    for method, pair in runs.items():
        for seed in ("1", "2"):
            outcome = DONE if pair else Outcome(FAILED, "no memory")
            write_run(folder / name / method / seed, scores(*pair) if pair else None, outcome)
    return path


def ranks(paths, by="mclgs", only=()):
    return rank_all([collect_all(read_comparison(path)) for path in paths], by, only)


FIRST = {"equal": (20.0, 50.0), "pcgrad": (25.0, 45.0), "mgda": (10.0, 40.0)}
SECOND = {"mgda": (30.0, 70.0), "equal": (20.0, 50.0), "pcgrad": (19.0, 52.0), "sta": (20.0, 50.0)}


@pytest.fixture
def two(tmp_path):
    return [data_set(tmp_path, "first", FIRST), data_set(tmp_path, "second", SECOND, delta={"base": "equal"})]


def by_name(ranking):
    return dict(zip(ranking.methods, ranking.ranks.T.tolist(), strict=True))


def test_methods_in_common_are_ranked_by_delta(two):
    """First: drops of 0, -7.5 and 35 percent. Second: 0, 0.5 and -45."""
    ranking, notes = ranks(two)
    assert ranking.data_sets == ("first", "second")
    assert by_name(ranking) == {"pcgrad": [1, 3], "equal": [2, 2], "mgda": [3, 1]}
    assert "Left out: sta: not in first." in notes


def test_a_convention_in_which_higher_is_better_is_turned(two):
    """First: 0, 0 and -10. Second: 0, 0.5 and 15."""
    ranking, _ = ranks(two, by="sta")
    assert by_name(ranking) == {"pcgrad": [1.5, 2], "equal": [1.5, 3], "mgda": [3, 1]}


def test_by_metrics_the_mean_rank_over_tasks_counts_and_ties_share_a_rank(two):
    """First: 2 and 1, 1 and 2, 3 and 3; second: of AP 2, 3, 1, of mIoU 3, 2, 1."""
    ranking, _ = ranks(two, by="metrics")
    assert by_name(ranking) == {"equal": [1.5, 2.5], "pcgrad": [1.5, 2.5], "mgda": [3, 1]}


def test_ranks_by_metrics_need_no_base(tmp_path):
    baselines = {"baselines": {"only": {}}}
    paths = [data_set(tmp_path, name, FIRST, **baselines) for name in ("a", "b")]
    with pytest.raises(ComparisonError, match="a has no Δ: its base, only, has no bbox/AP") as error:
        ranks(paths)
    assert len(str(error.value).splitlines()) == 3  # a heading, and a line for each
    assert by_name(ranks(paths, by="metrics")[0])["mgda"] == [3, 3]


def test_baselines_are_not_ranked(tmp_path):
    paths = [
        data_set(
            tmp_path, name, {**FIRST, "only": (22.0, 51.0)}, methods={method: {} for method in FIRST},
            baselines={"only": {}},
        )
        for name in ("a", "b")
    ]  # fmt: skip
    assert set(ranks(paths)[0].methods) == set(FIRST)


def test_some_methods_alone_can_be_ranked(two, tmp_path):
    third = data_set(tmp_path, "third", {**FIRST, "sta": (21.0, 50.0)})
    ranking, notes = ranks([two[1], third], only=["sta", "equal", "mgda"])
    assert set(ranking.methods) == {"sta", "equal", "mgda"}
    assert not any("Left out" in note for note in notes)


def test_few_data_sets_are_said_to_tell_little(two, tmp_path):
    _, notes = ranks(two)
    assert notes[0].startswith("With 2 data sets and 3 methods Friedman's test finds nothing whatever the ranks are")
    more = [data_set(tmp_path, f"set{i}", FIRST) for i in range(4)]
    assert "only large differences show" in ranks([*two, *more])[1][0]


def test_runs_that_failed_are_told(two, tmp_path):
    path = data_set(tmp_path, "third", {**FIRST, "sta": None})
    write_run(tmp_path / "third" / "equal" / "3", scores(20.0, 50.0), DONE)
    content = yaml.safe_load(path.read_text()) | {"seeds": [1, 2, 3]}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    notes = ranks([two[1], path])[1]
    assert "Left out: sta: without a finished run that has all metrics in third." in notes
    assert "third: mgda has 2 of 3 (1 not started) runs." in notes
    assert not any("equal" in note for note in notes)


def test_the_same_data_twice_is_told(tmp_path):
    paths = [data_set(tmp_path, name, FIRST) for name in "ab"]
    for config in tmp_path.glob("*/*/*/config.yaml"):
        config.write_text(yaml.safe_dump({"DATASETS": {"TRAIN": ["camvid_train"]}}))
    assert any(note.startswith("a and b were trained on the same data") for note in ranks(paths)[1])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda paths: {"paths": paths[:1]}, "give at least 2 finished comparisons; got first"),
        (lambda paths: {"paths": [paths[0], *paths]}, "first is given twice"),
        (
            lambda paths: {"only": ["equal", "mgda", "nash"]},
            "first has no method 'nash'; there are equal, pcgrad, mgda",
        ),
        (lambda paths: {"only": ["equal", "mgda"]}, "needs at least 3 methods that every comparison has"),
    ],
    ids=["one data set", "twice", "no such method", "two methods"],
)
def test_what_cannot_be_ranked_is_refused_in_a_line(two, change, line):
    with pytest.raises(ComparisonError, match="the ranking has mistakes") as error:
        ranks(**{"paths": two, **change(two)})
    assert line in str(error.value)


def test_methods_that_lack_a_metric_do_not_count_as_common(two, tmp_path):
    lacking = data_set(tmp_path, "nan", {**FIRST, "pcgrad": (math.nan, 50.0)})
    with pytest.raises(ComparisonError, match="found equal, mgda") as error:
        ranks([two[0], lacking])
    assert "Left out: pcgrad: without a finished run that has all metrics in nan." in str(error.value)


def test_a_comparison_without_finished_runs_is_refused(two, tmp_path):
    empty = data_set(tmp_path, "empty", dict.fromkeys(FIRST))
    with pytest.raises(ComparisonError, match="empty has no finished run in"):
        ranks([two[0], empty])


def test_the_command_takes_files_and_folders_and_leaves_a_page(two, tmp_path, capsys):
    arguments = [str(two[0]), str(tmp_path / "second"), "--files", str(tmp_path), "--output", str(tmp_path / "out")]
    main(parse([*arguments, "--by", "sta", "--format", "svg"]))
    told = capsys.readouterr().out
    assert "3 methods are not told apart" in told
    assert f"look at {tmp_path / 'out' / 'ranks.html'}" in told
    assert (tmp_path / "out" / "critical_difference.svg").is_file()
    assert "| pcgrad   |        1.75 |     1.5 |        2 |" in (tmp_path / "out" / "ranks.md").read_text()


def test_a_folder_that_no_file_writes_into_is_refused(tmp_path):
    with pytest.raises(ComparisonError, match=r"no file in .* writes into a folder of that name"):
        main(parse([str(tmp_path), "--files", str(tmp_path)]))
