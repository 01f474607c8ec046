"""Two runs on one page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from synthetic_run import RESULTS, loss_rows

from mtl_d2.report.config_difference import config_differences
from mtl_d2.report.metric_differences import difference_tables
from mtl_d2.report.run import read_run
from mtl_d2.report.two_runs import run_names, write_two_runs

REPOSITORY = Path(__file__).resolve().parents[2]


def real_config(**changed):
    from detectron2.config import get_cfg

    from mtl_d2.config import add_mtl_config

    cfg = get_cfg()
    add_mtl_config(cfg)
    for key, value in changed.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg.dump()


def made(folder, config="", results=None, log=()):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config or real_config())
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in log))
    if results:
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_settings_that_differ_are_told_by_whether_they_change_the_training(tmp_path):
    one = made(tmp_path / "one", real_config(SOLVER__BASE_LR=0.5, OUTPUT_DIR="one", TEST__EVAL_PERIOD=7))
    other = made(tmp_path / "other", real_config(OUTPUT_DIR="other"))
    training, rest = config_differences(read_run(one), read_run(other))
    assert [(d.key, d.one, d.other) for d in training] == [("SOLVER.BASE_LR", "0.5", "0.001")]
    assert [d.key for d in rest] == ["OUTPUT_DIR", "TEST.EVAL_PERIOD"]


def test_a_difference_is_bold_where_the_first_is_better_and_a_dash_where_one_lacks_it():
    one = {"bbox": {"AP": 30.04, "AP50": 50.0}, "depth": {"abs_err": 1.0}}
    other = {"bbox": {"AP": 30.0, "AP50": 48.0, "AP75": 1.0}, "depth": {"abs_err": 2.0}}
    html = difference_tables(one, other, ("a", "b"))
    assert "<b>+2.0</b>" in html
    assert "<b>-1.000</b>" in html  # less error
    assert "<td>+0.0</td>" in html  # as far as it is shown, nobody is better
    assert html.split("<th>AP75</th>")[1].split("</tr>")[0].count("<td>–</td>") == 2


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    assert run_names(tmp_path / "a", tmp_path / "b") == ("a", "b")
    assert run_names(tmp_path / "a" / "run", tmp_path / "b" / "run") == ("a/run", "b/run")
    assert run_names(tmp_path / "a", tmp_path / "a") == ("a (first)", "a (second)")


def test_the_page_has_both_runs_in_one_chart_and_names_what_is_missing(tmp_path):
    one = made(tmp_path / "one", results=RESULTS, log=loss_rows(3))
    other = made(tmp_path / "<other>", log=[row | {"cosine/a_b": 0.5, "bbox/AP": 20.0} for row in loss_rows(4)])
    html = write_two_runs(one, other, tmp_path / "page.html").read_text()
    assert "<other>" not in html
    losses = html.split('<section id="losses">')[1].split("</section>")[0]
    assert losses.count("data-curves") == 1
    assert "one</span><span>" in losses
    assert "one has not logged it." in html.split('<section id="cosines">')[1]
    assert "<b>+5.1</b>" in html  # 25.1 against 20.0
    assert "none: the same training." in html
    assert "no pictures of the same image" in html
    assert "tools/compare.py" in html


def test_pictures_of_the_same_image_stand_beside_each_other(tmp_path):
    runs = []
    for name, images in (("one", ["x.jpg", "y.jpg"]), ("other", ["y.jpg", "z.jpg"])):
        runs.append(made(tmp_path / name))
        (runs[-1] / "pictures").mkdir()
        entries = []
        for i, image in enumerate(images):
            files = {kind: f"{i}_{kind}.jpg" for kind in ("prediction", "truth")}
            for kind, file in files.items():
                (runs[-1] / "pictures" / file).write_bytes(f"{name} {image} {kind}".encode())
            entries.append({"dataset": "val", "image": image, **files})
        (runs[-1] / "pictures" / "index.json").write_text(json.dumps({"pictures": entries}))
    html = write_two_runs(*runs, tmp_path / "page.html").read_text()
    assert html.count('<div class="pair">') == 1
    assert "y.jpg" in html
    assert "x.jpg" not in html
    assert html.count("data:image/jpeg") == 3
    for caption in ("prediction of one", "prediction of other", "ground truth"):
        assert f"<figcaption>{caption}</figcaption>" in html


def test_a_run_without_a_config_is_named(tmp_path):
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    (one / "config.yaml").unlink()
    assert "No config.yaml that can be read: one." in write_two_runs(one, other, tmp_path / "page.html").read_text()


@pytest.mark.parametrize("config", [{"SOLVER": {"MAX_ITER": 3}}, {"SOLVER": "text"}], ids=["few", "odd"])
def test_configs_of_few_keys_can_be_compared(tmp_path, config):
    one, other = made(tmp_path / "one", yaml.safe_dump(config)), made(tmp_path / "other", yaml.safe_dump({"A": 1}))
    assert "Differences of the configs" in write_two_runs(one, other, tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "name the run once, by --run OUTPUT_DIR"),
        (["{}", "--run", "{}"], "name the run once, by --run OUTPUT_DIR"),
        (["--run", "{}", "--watch", "0"], "--watch must be 0.1 to 86400 seconds, found 0"),
        (["--run", "{}", "--output", "x.html"], "--output is the page of --against"),
        (["--run", "{}", "--against", "{}/nothing"], "nothing is no folder: pass a run's OUTPUT_DIR"),
    ],
    ids=["none", "twice", "seconds", "output", "against"],
)
def test_mistakes_in_the_command_are_one_line(tmp_path, options, complaint):
    folder = made(tmp_path / "run")
    command = [sys.executable, str(REPOSITORY / "tools" / "report.py"), *(o.format(folder) for o in options)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode != 0
    assert complaint in done.stderr.splitlines()[-1]
