"""The page of trained models is what finished runs are, and nothing else."""

import json
import os
import statistics
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import yaml

from mtl_d2.comparison.state import FAILED, FINISHED, Outcome, write_outcome
from mtl_d2.engine.identity import write_run
from mtl_d2.zoo.log import read_log
from mtl_d2.zoo.words import quoted
from mtl_d2.zoo.zoo import ZooError, model_zoo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from model_zoo import main, parse  # noqa: E402

FILE = "configs/sample_scenes_segnet.yaml"
UPDATES = 4
LOG = """[11/28 09:41:11] detectron2 INFO: Rank of current process: 0. World size: 2
detectron2             0.6 @/home/somebody/site-packages/detectron2
PyTorch                2.11.0+cpu @/home/somebody/site-packages/torch
  - CPU capability usage: AVX512
[11/28 09:41:11] detectron2 INFO: Command line arguments: Namespace(config_file='{file}', eval_only=False, opts={opts})
[11/28 09:41:12] mtl_d2.evaluation.rehearsal INFO: my_val: its evaluation was rehearsed in 1 s, on 50 of 70 images for x
"""


def config_of(seed=1, updates=UPDATES):
    return {
        "SEED": seed,
        "SOLVER": {"MAX_ITER": updates, "IMS_PER_BATCH": 2},
        "DATASETS": {"TRAIN": ["my_train"], "TEST": ["my_val"]},
        "MODEL": {"DEVICE": "cpu"},
        "MTL": {"TASKS": ["semantic"], "GRADIENT": {"AGGREGATOR": "sum"}},
    }


def save_weights(folder, config, run="one", updates=UPDATES, weight=1.0):
    state = {"config": yaml.safe_dump(config), "records": {"my_train": "0"}}
    content = {"model": {"w": torch.tensor(weight)}, "run": run, "iteration": updates - 1, "trainer": state}
    torch.save(content, folder / "model_final.pth")


def write_training(folder, miou=50.0, seed=1, options=(), file=FILE):
    """What ``tools/train_net.py`` leaves."""
    folder.mkdir(parents=True)
    config = config_of(seed)
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "OUTPUT_DIR": "/home/somebody/run"}))
    rows = [{"iteration": i, "total_loss": 1.0, "time": 0.25} for i in range(UPDATES)]
    rows.append({"iteration": UPDATES, "sem_seg/mIoU": miou})
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["OUTPUT_DIR", "/home/somebody/run", "SEED", str(seed), *options]
    (folder / "log.txt").write_text(LOG.replace("{file}", f"/home/somebody/{file}").replace("{opts}", repr(words)))
    write_run(folder, "one")
    save_weights(folder, config, weight=miou)
    results = {
        "sum": {"sem_seg": {"mIoU": miou}},
        "own_row": "sum",
        "parameters": 1234,
        "definitions": {"sem_seg": "mean over the classes"},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def write_comparison(folder):
    """A comparison of one method and two seeds, with its file, and a run that was set aside."""
    files = folder / "files"
    files.mkdir()
    (files / "mine.yaml").write_text(
        "# My comparison.\n# DATA=DIR tools/make_data.py\n"
        + yaml.safe_dump(
            {
                "title": "Mine", "base": str(ROOT / FILE), "seeds": [1, 2], "output": "output/my_folder",
                "methods": {"uncertainty": {"MTL.SCALARIZATION.NAME": "uncertainty"}},
            }
        )
    )  # fmt: skip
    for seed, name in ((1, "1"), (2, "2"), (2, "2.old1")):
        run = write_training(folder / "my_folder" / "uncertainty" / name, 40.0 + 10 * seed, seed)
        (run / "comparison.yaml").write_text(yaml.safe_dump({**config_of(seed)}))
        write_outcome(run, Outcome(FINISHED, memory=3 << 20, seconds=9.0))
    return files


def page_of(*folders, comparisons=ROOT / "configs" / "comparisons"):
    return model_zoo(folders, ROOT, comparisons)


def row_of(text, start):
    return [
        cell.strip() for cell in next(line for line in text.splitlines() if line.startswith(start)).split("|")[1:-1]
    ]


def test_seeds_of_one_config_are_one_row_with_mean_and_sample_deviation(tmp_path):
    for seed, miou in ((1, 50.0), (2, 53.0), (3, 61.0)):
        write_training(tmp_path / "runs" / f"run{seed}", miou, seed)
    text, left_out = page_of(tmp_path / "runs")
    assert not left_out.reasons
    cells = row_of(text, "| sum")
    assert cells[1:4] == ["semantic", "4 × 2", "1, 2, 3"]
    assert cells[4] == f"{statistics.mean((50, 53, 61)):.2f} ± {statistics.stdev((50, 53, 61)):.2f}"


def test_the_row_says_cost_and_digests(tmp_path):
    run = write_training(tmp_path / "run")
    text, _ = page_of(run)
    digest = sha256((run / "model_final.pth").read_bytes()).hexdigest()[:16]
    costs = next(line for line in text.splitlines() if digest in line)
    assert [cell.strip() for cell in costs.split("|")[3:5]] == ["1,234", "0.25"]
    assert "segmentation: mean over the classes." in text
    assert "CPU with AVX512, 2 processes, PyTorch 2.11.0+cpu, detectron2 0.6" in text
    assert "`my_val` (70 images)" in text
    assert "`my_train`," in text  # not registered here, so that nobody knows how many


def test_the_command_has_the_options_without_folders_of_the_machine(tmp_path):
    write_training(tmp_path / "run", options=["MODEL.WEIGHTS", "/home/somebody/r50.pkl", "MTL.TASKS", "['semantic']"])
    text, _ = page_of(tmp_path / "run")
    start = (
        f"DETECTRON2_DATASETS=datasets/small_scenes tools/train_net.py --config-file {FILE}"  # as the file's head says
    )
    line = f"{start} MODEL.WEIGHTS DIR/r50.pkl MTL.TASKS \"['semantic']\""
    assert line in text.splitlines()
    assert "somebody" not in text
    assert str(tmp_path) not in text


def test_runs_of_another_config_are_another_row(tmp_path):
    write_training(tmp_path / "a", 50.0)
    other = write_training(tmp_path / "b", 60.0, options=["SOLVER.IMS_PER_BATCH", "4"])
    config = config_of()
    config["SOLVER"]["IMS_PER_BATCH"] = 4
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    save_weights(other, config)
    os.utime(other / "results.json")
    text, left_out = page_of(tmp_path)
    assert not left_out.reasons
    assert text.count("| sum ") == 4  # two rows, in each of two tables


@pytest.mark.parametrize("folders", [["b", "a"], ["a", "b"]], ids=["as named", "sorted"])
def test_the_page_does_not_depend_on_order_and_is_stable(tmp_path, folders):
    write_training(tmp_path / "a" / "one", 50.0, 1)
    write_training(tmp_path / "b" / "two", 60.0, 2)
    first, _ = page_of(tmp_path / "a", tmp_path / "b")
    assert page_of(*(tmp_path / name for name in folders))[0] == first


def broken(folder, how):
    """A run with one thing wrong; the reason that the page must give."""
    config = config_of()
    if how == "weights missing":
        (folder / "model_final.pth").unlink()
        return "it has no model_final.pth"
    if how == "weights cut":
        (folder / "model_final.pth").write_bytes((folder / "model_final.pth").read_bytes()[:300])
        os.utime(folder / "results.json")
        return "cannot be read as a checkpoint"
    if how == "results old":
        os.utime(folder / "results.json", (0, 0))
        return "results.json is older than model_final.pth"
    if how == "results of another evaluation":
        text = (folder / "results.json").read_text()
        (folder / "results.json").write_text(text.replace("50.0", "51.0"))
        return "results.json has sem_seg/mIoU 51, and the last evaluation in metrics.json 50"
    if how == "not trained to the end":
        lines = (folder / "metrics.json").read_text().splitlines(keepends=True)
        (folder / "metrics.json").write_text("".join(lines[:2]))
        return "its log ends at update 2 of 4"
    if how == "another run":
        save_weights(folder, config, run="two")
    elif how == "too few updates":
        save_weights(folder, config, updates=2)
    elif how == "another config":
        save_weights(folder, {**config, "MODEL": {"DEVICE": "cuda"}})
    os.utime(folder / "results.json")
    return {
        "another run": "model_final.pth is of another run than config.yaml",
        "too few updates": "model_final.pth is of update 2, and config.yaml says 4",
        "another config": "another config than config.yaml: MODEL.DEVICE cuda -> cpu",
    }[how]


WAYS = ("weights missing", "weights cut", "results old", "results of another evaluation", "not trained to the end")


@pytest.mark.parametrize("how", [*WAYS, "another run", "too few updates", "another config"])
def test_files_that_do_not_belong_together_are_left_out_by_name(tmp_path, how):
    write_training(tmp_path / "runs" / "good", 70.0, 2)
    reason = broken(write_training(tmp_path / "runs" / "bad"), how)
    text, left_out = page_of(tmp_path / "runs")
    assert list(left_out.reasons) == ["runs/bad"]
    line = next(line for line in text.splitlines() if line.startswith("- `runs/bad`"))
    assert reason in line
    assert row_of(text, "| sum")[3] == "2"


def test_the_same_config_and_seed_counts_once(tmp_path):
    write_training(tmp_path / "runs" / "a")
    write_training(tmp_path / "runs" / "b")
    _, left_out = page_of(tmp_path / "runs")
    assert left_out.reasons == {"runs/b": "its config and seed are those of runs/a"}


def test_a_comparison_has_its_title_command_and_what_a_method_changes(tmp_path):
    files = write_comparison(tmp_path)
    text, left_out = page_of(tmp_path / "my_folder", comparisons=files)
    assert "## Mine\n\nMy comparison.\n" in text
    assert "| [Mine](#mine) " in text
    assert "`MTL.SCALARIZATION.NAME uncertainty`" in text
    assert row_of(text, "| uncertainty")[3:5] == ["1, 2", "55.00 ± 7.07"]
    assert left_out.reasons == {"my_folder/uncertainty/2.old1": "set aside, since another config took its place"}


def test_what_its_files_said_then_is_in_a_comparisons_command(tmp_path):
    text, _ = page_of(tmp_path / "my_folder", comparisons=write_comparison(tmp_path))
    command = next(line for line in text.splitlines() if line.startswith("tools/compare.py") and "MAX_ITER" in line)
    assert "SOLVER.MAX_ITER 4" in command  # the base has 400
    assert "SEED" not in command


def test_failed_runs_of_a_comparison_are_named_with_the_reason(tmp_path):
    files = write_comparison(tmp_path)
    write_outcome(tmp_path / "my_folder" / "uncertainty" / "1", Outcome(FAILED, "the loss is nan"))
    text, left_out = page_of(tmp_path / "my_folder", comparisons=files)
    assert left_out.reasons["my_folder/uncertainty/1"] == "failed: the loss is nan"
    assert row_of(text, "| uncertainty")[3:5] == ["2", "60.00"]


def test_a_comparison_whose_file_is_not_there_is_left_out(tmp_path):
    files = write_comparison(tmp_path)
    (files / "mine.yaml").unlink()
    write_training(tmp_path / "run")
    _, left_out = page_of(tmp_path / "my_folder", tmp_path / "run", comparisons=files)
    assert set(left_out.reasons.values()) == {"no file in files writes into a folder my_folder"}


@pytest.mark.parametrize(
    ("folder", "message"), [("nowhere", "is no folder: name the OUTPUT_DIR"), ("empty", "there is no run in")]
)
def test_nothing_to_show_is_one_line(tmp_path, folder, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match=message) as caught:
        page_of(tmp_path / folder)
    assert "\n" not in str(caught.value)


def test_the_log_of_a_run_gone_on_with_gives_its_last_training(tmp_path):
    first = LOG.replace("{file}", "a.yaml").replace("{opts}", "[]")
    last = LOG.replace("{file}", "b.yaml").replace("{opts}", "['SEED', '3']")
    tested = LOG.replace("{file}", "c.yaml").replace("{opts}", "[]").replace("eval_only=False", "eval_only=True")
    (tmp_path / "log.txt").write_text(first + last + tested)
    log = read_log(tmp_path, on_gpu=False)
    assert (log.config_file, log.options) == ("b.yaml", ("SEED", "3"))
    assert read_log(tmp_path / "none", on_gpu=False).machine == ""


@pytest.mark.parametrize("words", [["A", "['x', 'y']"], ["B", "it's $HOME"], ["C", ""], ["D", "(1, 2)"]], ids=str)
def test_words_reach_the_program_as_they_are(words):
    told = subprocess.run(["sh", "-c", f"printf '%s\\n' {quoted(words)}"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == words


def test_check_says_whether_the_page_is_old(tmp_path, capsys):
    run, page = write_training(tmp_path / "run"), tmp_path / "ZOO.md"
    words = [str(run), "--output", str(page)]
    assert main(parse(words)) == 0
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert main(parse([*words, "--check"])) == 0
    page.write_text(page.read_text() + "more\n")
    assert main(parse([*words, "--check"])) == 1
    assert "is old" in capsys.readouterr().out
    assert page.read_text().endswith("more\n")
