from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from synthetic_run import CONFIG, RESULTS, loss_rows, rows

from mtl_d2.report.page import write_report

REPOSITORY = Path(__file__).resolve().parents[2]


def page(folder: Path, title: str | None = None) -> str:
    return write_report(folder, title).read_text()


def section(html: str, anchor: str) -> str:
    return html.split(f'<section id="{anchor}">')[1].split("</section>")[0]


def row(html: str, name: str) -> list[str]:
    """The cells of the table's row of that name."""
    return re.findall(r"<td>(.*?)</td>", html.split(f"<th>{name}</th>")[1].split("</tr>")[0])


def test_whole_run_has_every_section_and_its_numbers(write_run):
    html = page(write_run(rows(300), results=RESULTS), "Demo")
    assert "<h1>Demo</h1>" in html
    assert "300 of 300 updates" in html
    assert "6 min" in html  # 300 updates of about 1.25 s
    for anchor in ("metrics", "pictures", "losses", "cosines", "gradients", "time", "settings"):
        assert section(html, anchor)
    assert "<b>25.1</b>" in section(html, "metrics")
    assert "boxes mIoU" not in html
    assert "segmentation over training" in section(html, "metrics")
    assert "mclgs (a0 120.0, pacing linear, r_t 2.0), then mean" in section(html, "settings")
    assert "META_ARCHITECTURE: MultiTaskFCOS" in section(html, "settings")
    for name in ("loss_fcos_cls", "loss_sem_seg_dice", "loss of detection", "total loss"):
        assert name in section(html, "losses")
    assert "First against last third" in section(html, "cosines")
    assert "defined in 80% of the updates" in section(html, "cosines")
    assert "Pacing p(t)" in section(html, "gradients")
    assert 'class="warnings"' in html  # for the pictures, which this run lacks
    assert "Training stopped early" not in html


def test_best_of_a_column_is_bold_and_a_value_that_is_not_there_is_no_nan(write_run):
    html = section(page(write_run(loss_rows(3), results=RESULTS)), "metrics")
    assert row(html, "AP") == ["0.0", "nan", "<b>25.1</b>"]
    assert row(html, "AP75") == ["–", "–", "24.9"]
    assert row(html, "person") == ["–", "–", "nan"]
    assert "<b>55.4</b>" in html
    assert "<b>9.4</b>" not in html


def test_without_results_the_table_shows_the_last_evaluation_of_the_log(write_run):
    html = section(page(write_run(rows(300))), "metrics")
    assert "last evaluation" in html
    assert "<td>46.8</td>" in html


def test_results_of_several_test_sets_keep_their_names(write_run):
    log = [{"iteration": 9, "bbox@my_set/AP": 12.5, "other_set/bbox/AP": 7.25}]
    html = page(write_run(log))
    assert "my_set boxes</th>" in section(html, "metrics")
    assert "other_set boxes</th>" in section(html, "metrics")
    assert 'id="other"' not in html


@pytest.mark.parametrize(
    ("part", "sentence"), [("metrics", "metrics.json is missing"), ("config", "config.yaml is missing")]
)
def test_missing_file_is_named(write_run, part, sentence):
    parts = {"metrics": loss_rows(5), "config": CONFIG, "results": RESULTS} | {part: None}
    assert sentence in page(write_run(**parts))


def test_empty_folder_still_gives_a_report_that_says_what_is_missing(tmp_path):
    html = page(tmp_path)
    for sentence in ("config.yaml is missing", "metrics.json is missing", "No evaluation was found", "No pictures"):
        assert sentence in html


def test_crashed_run_says_where_it_stopped_and_that_its_last_line_is_cut(write_run):
    log = "".join(json.dumps(row) + "\n" for row in loss_rows(3)) + '{"iteration": 3, "total_lo'
    html = page(write_run(log))
    assert "Training stopped early: the log ends at update 3 of 300." in html
    assert "the last line is cut" in html
    assert "<svg" in section(html, "losses")


def test_one_row_is_enough(write_run):
    assert "1 of 300 updates" in page(write_run(rows(1)))


def test_broken_lines_in_the_middle_are_counted(write_run):
    log = '{"iteration": 0, "lr": 1}\nnonsense\n[1]\n{"lr": 2}\n{"iteration": 1, "lr": 1}\n'
    assert "3 lines are not JSON objects with an iteration, the first is line 2" in page(write_run(log))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_values_that_cannot_be_drawn_are_left_out_and_named(write_run, value):
    log = loss_rows(20)
    log[7]["total_loss"] = value
    html = page(write_run(log))
    assert "total_loss (1)" in html
    assert "nan" not in section(html, "losses").lower()


def test_series_of_nan_alone_is_no_figure(write_run):
    html = page(write_run([{"iteration": t, "total_loss": math.nan, "cosine/a_b": math.nan} for t in range(4)]))
    assert "No loss was logged" in html
    assert "No cosine was logged" in html


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"a": 1}', '{"a": {"bbox": {"AP": "x", "AP50": true}}}'])
def test_broken_results_do_not_stop_the_report(write_run, text):
    folder = write_run(loss_rows(3))
    (folder / "results.json").write_text(text)
    assert section(page(folder), "losses")


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "MTL: 3", "MTL: {TASKS: null, GRADIENT: {RESCALE: 4}}", "a: !!python/x 1"]
)
def test_broken_config_does_not_stop_the_report(write_run, text):
    folder = write_run(loss_rows(3))
    (folder / "config.yaml").write_text(text)
    assert section(page(folder), "losses")


def test_bytes_that_are_no_text_do_not_stop_the_report(tmp_path):
    for name in ("metrics.json", "results.json", "config.yaml"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x80")
    assert "metrics.json: holds no readable row." in page(tmp_path)


def test_everything_from_files_is_escaped(write_run):
    evil = "<script>alert('1')</script>"
    log = [{"iteration": t, f"{evil}/x": t, f"cosine/{evil}": 0.1, f"loss_{evil}": 1.0, evil: 1.0} for t in range(3)]
    config = {**CONFIG, "MTL": {**CONFIG["MTL"], "TASKS": [evil]}, "SEED": evil}
    folder = write_run(log, config, {evil: {evil: {evil: 1.0, f"AP-{evil}": 2.0}}})
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.jpg").write_bytes(b"jpeg")
    lost = {"dataset": evil, "image": evil, "prediction": evil, "truth": evil, "labels": [evil]}
    there = {**lost, "prediction": "a.jpg", "truth": "a.jpg"}
    legend = {evil: [[evil, "url(outside)"], [evil, "#000000"]]}
    index = {"pictures": [lost, there], "legend": legend, "score_threshold": evil}
    (folder / "pictures" / "index.json").write_text(json.dumps(index))
    html = page(folder, evil)
    assert html.count("<script") == 1  # the page's own
    assert "url(outside)" not in html
    assert html.count("data:image/jpeg") == 2


def test_page_refers_to_nothing_outside_itself(write_run):
    html = page(write_run(rows(30), results=RESULTS))
    assert not re.search(r"https?://", html)
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert html.count("<script>") == html.count("<script") == 1


def test_unknown_series_are_shown_by_group(write_run):
    log = [{"iteration": t, "famo/logit_a": t, "famo/logit_b": -t, "scaler": 1024.0} for t in range(10)]
    other = section(page(write_run(log)), "other")
    for name in ("<h3>famo</h3>", "logit_a", "logit_b", "<h3>scaler</h3>"):
        assert name in other


def test_equal_weights_share_one_named_curve(write_run):
    html = section(page(write_run(rows(30))), "gradients")
    assert "detection and semantic (equal)" in html


def test_report_replaces_the_old_one_and_leaves_nothing_beside_it(write_run):
    folder = write_run(loss_rows(3))
    page(folder, "old")
    assert "<h1>old" not in page(folder, "new")
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "metrics.json", "report.html"]


def test_long_log_stays_small(write_run):
    log = [{"iteration": 20 * t, **{f"loss_{k}": 1 / (t + 1) + k for k in range(12)}} for t in range(4000)]
    assert write_report(write_run(log)).stat().st_size < 500_000


def test_folder_that_does_not_exist_is_refused_with_the_mend(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"output_dir must be .* found '.*nowhere'.* pass its OUTPUT_DIR"):
        write_report(tmp_path / "nowhere")


def test_tool_makes_the_report_again(write_run):
    folder = write_run(loss_rows(3))
    tool = [sys.executable, str(REPOSITORY / "tools" / "make_report.py"), str(folder), "--title", "Again"]
    done = subprocess.run(tool, capture_output=True, text=True, cwd=REPOSITORY, env=_environment(), check=True)
    assert Path(done.stdout.strip()) == folder / "report.html"
    assert "<h1>Again</h1>" in (folder / "report.html").read_text()
    nothing = [*tool[:2], str(folder.parent / "nothing")]
    Path(nothing[2]).mkdir()
    refused = subprocess.run(nothing, capture_output=True, text=True, cwd=REPOSITORY, env=_environment())
    assert refused.returncode == 1
    assert "nothing is no run's OUTPUT_DIR: it has no config.yaml" in refused.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}


def test_config_of_a_real_run_is_read(write_run):
    from detectron2.config import get_cfg

    from mtl_d2.config import add_mtl_config

    cfg = get_cfg()
    add_mtl_config(cfg)
    settings = section(page(write_run(loss_rows(3), yaml.safe_load(cfg.dump()))), "settings")
    assert "detection, semantic" in settings
    assert "sum" in settings


def test_solver_is_told_by_what_its_optimizer_follows(write_run):
    config = {
        "MTL": {"OPTIMIZER": "lamb"},
        "SOLVER": {"MOMENTUM": 0.9, "WEIGHT_DECAY": 0.05, "BACKBONE_LR_FACTOR": 0.1},
        "INPUT": {"AUGMENTATIONS": ["RandomFlip()"]},
        "MODEL": {"BACKBONE": {"NAME": "build_timm_fpn_backbone"}, "TIMM": {"NAME": "resnet18"}},
    }
    settings = section(page(write_run(loss_rows(3), config)), "settings")
    assert "learning rate –, 0.1 times that in the trunk" in settings
    assert "weight decay 0.05" in settings
    assert "momentum 0.9" not in settings
    assert "[RandomFlip()]" in settings
    assert "trunk build_timm_fpn_backbone resnet18" in settings


def test_consecutive_updates_have_their_histogram_beside_the_tasks(write_run):
    log = [{"iteration": t, "cosine/a_b": 0.1, "cosine/consecutive_updates": 0.5} for t in range(9)]
    cosines = section(page(write_run(log)), "cosines")
    assert "consecutive_updates: mean +0.500" in cosines
    assert "Angles, a_b" in cosines
    assert "Angles, consecutive_updates" in cosines


def test_values_that_are_zero_as_shown_are_not_the_best(write_run):
    results = {"a": {"bbox": {"AP": 0.00004}}, "b": {"bbox": {"AP": 0.0}}}
    html = section(page(write_run(loss_rows(3), results=results)), "metrics")
    assert "<td>0.0</td>" in html
    assert "<b>" not in html
    assert "bold" not in html


def test_the_headline_is_of_the_runs_own_row_wherever_it_stands(write_run):
    rows_of = {"old": {"bbox": {"AP": 1.0}}, "mine": {"bbox": {"AP": 38.2}}, "constant": {"bbox": {"AP": 3.4}}}
    html = page(write_run(loss_rows(3), results=rows_of | {"own_row": "mine"}))
    assert "<b>38.2</b><span>boxes AP</span>" in html
    assert "own_row" not in section(html, "metrics")


def test_without_a_word_of_it_the_first_row_is_the_runs_own(write_run):
    rows_of = {"mine": {"bbox": {"AP": 38.2}}, "untrained": {"bbox": {"AP": 1.0}}, "constant": {"bbox": {"AP": 3.4}}}
    assert "<b>38.2</b><span>boxes AP</span>" in page(write_run(loss_rows(3), results=rows_of))


def test_an_older_value_does_not_stand_for_one_that_is_nan(write_run):
    log = [{"iteration": 9, "bbox/AP": 12.5}, {"iteration": 19, "bbox/AP": math.nan}]
    html = page(write_run(log))
    assert "<b>nan</b><span>boxes AP</span>" in html
    assert "12.5" not in section(html, "metrics").split("<svg")[0]
    assert "nan: bbox/AP: there was nothing to take a mean of" in html


def test_a_trained_task_without_an_evaluation_is_said(write_run):
    results = {"mclgs": {"bbox": {"AP": 25.0}}}
    html = section(page(write_run(loss_rows(3), results=results)), "metrics")
    assert "&#x27;semantic&#x27; is trained and not evaluated: no data set of DATASETS.TEST (sample_det_val)" in html
    assert "&#x27;detection&#x27; is trained" not in html


def test_notes_of_the_results_are_shown_and_say_it_once(write_run):
    notes = ["'semantic' is trained and not evaluated: told before", "val: the evaluation of x failed (<b>)"]
    results = {"a": {"bbox": {"AP": 25.0, "x": "text"}}, "own_row": "a", "notes": notes}
    results["definitions"] = {"bbox": "AP as by pycocotools"}
    html = section(page(write_run(loss_rows(3), results=results)), "metrics")
    assert html.count("is trained and not evaluated") == 1
    assert "the evaluation of x failed (&lt;b&gt;)" in html
    assert '<ul class="notes"><li>boxes: AP as by pycocotools</li></ul>' in html
    assert "boxes x" not in html
    assert html.count("<th>") == 3  # of the group, its column and its metric: the definitions are none


def test_classifications_are_evaluated_by_their_accuracy(write_run):
    config = {**CONFIG, "MTL": {**CONFIG["MTL"], "TASKS": ["class_left", "class_right", "own_kind"]}}
    html = page(write_run(loss_rows(3), config, {"a": {"accuracy@val": {"class_left": 80.0}}}))
    assert "&#x27;class_right&#x27; is trained and not evaluated" in html
    assert "class_left&#x27; is" not in html
    assert "own_kind&#x27; is" not in html  # of a kind that is not known here nothing is claimed


def test_a_run_without_test_sets_says_so(write_run):
    html = page(write_run(loss_rows(3), {**CONFIG, "DATASETS": {"TRAIN": ["a"], "TEST": []}}))
    assert "DATASETS.TEST names no test set, so no task (detection, semantic) was evaluated" in html
    assert "No pictures were drawn: DATASETS.TEST names no test set" in html


def test_lists_are_shown_as_lists_and_the_method_by_what_it_was(write_run):
    gradient = {"RESCALE": "mclgs", "AGGREGATOR": "mean", "SCALE": "sum", "MCLGS": {"A0": 0.0, "R_T": 2.0}}
    scalarization = {"NAME": "fixed", "FIXED": {"WEIGHTS": [1.0, 2.0]}}
    config = {**CONFIG, "MTL": {**CONFIG["MTL"], "GRADIENT": gradient, "SCALARIZATION": scalarization}}
    html = page(write_run(loss_rows(3), config))
    settings = section(html, "settings")
    assert "steps [200, 260]" in settings
    assert "fixed (weights [1.0, 2.0])" in settings
    assert "balanced by fixed (weights [1.0, 2.0]) + sum, set as" in html


def test_nulls_in_the_log_are_left_out_and_named(write_run):
    log = loss_rows(20)
    log[3]["total_loss"] = None
    assert "total_loss (1)" in page(write_run(log))
