"""A comparison as a user makes one, with real trainings in processes of their own."""

import errno
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tools"), str(REPOSITORY / "tests" / "data")]

import compare  # noqa: E402
from tiny_bdd100k import write_tiny_bdd100k  # noqa: E402

from mtl_d2.comparison.errors import ComparisonError  # noqa: E402
from mtl_d2.comparison.training import Training  # noqa: E402
from mtl_d2.locks import lock_folder  # noqa: E402

SMALL = {
    "SOLVER": {"MAX_ITER": 2, "STEPS": [1], "WARMUP_ITERS": 0, "CHECKPOINT_PERIOD": 10},
    "INPUT.MIN_SIZE_TRAIN": [48],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MTL.LOG_PERIOD": 1,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_tiny_bdd100k(root)
    return root


@pytest.fixture
def write(tmp_path, scenes, monkeypatch):
    """Writes a comparison file."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def to_file(**changes):
        content = {
            "base": str(REPOSITORY / "configs" / "sample_scenes_equal.yaml"),
            "output": str(tmp_path / "out"),
            "seeds": [1, 2],
            "overrides": SMALL,
            "methods": {"equal": {}, "diverges": {"SOLVER.BASE_LR": 1e20}},
            **changes,
        }
        path = tmp_path / "file.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return to_file


def test_trains_what_is_not_finished_shows_what_failed_and_repeats_nothing(write, tmp_path, capsys):
    file, out = write(), tmp_path / "out"
    assert compare.main(compare.parse([file, "--jobs", "2"])) == 1  # two runs have diverged
    said = capsys.readouterr().out
    assert "4 runs, 4 to do, 2 at a time" in said
    assert said.count(": finished in") == 2
    assert "not finite" in said
    table = re.sub(" +", " ", (out / "comparison.md").read_text())  # its columns are padded
    assert "| equal | 2 |" in table
    assert "| diverges | 0 of 2 (2 failed) | failed |" in table
    logs = {path: path.stat().st_mtime_ns for path in out.glob("*/*/console.log")}
    assert len(logs) == 4

    compare.main(compare.parse([file]))
    assert "4 runs, 0 to do" in capsys.readouterr().out
    (out / "comparison.html").unlink()
    compare.main(compare.parse([file, "--only-tables"]))
    assert (out / "comparison.html").stat().st_size > 10_000
    assert logs == {path: path.stat().st_mtime_ns for path in out.glob("*/*/console.log")}

    with pytest.raises(ComparisonError, match=r"equal, seed 1: its config has changed: SOLVER.MAX_ITER 2 -> 3"):
        compare.main(compare.parse([file, "SOLVER.MAX_ITER", "3"]))


def test_mistakes_are_told_before_anything_runs(write, tmp_path):
    methods = {"a": {"MTL.GRADIENT.AGGREGATOR": "meen"}}
    with pytest.raises(ComparisonError, match="did you mean 'mean'"):
        compare.main(compare.parse([write(methods=methods, overrides={})]))
    with pytest.raises(ComparisonError, match="bbdd"):
        compare.main(compare.parse([write(), "DATASETS.TRAIN", "('bbdd',)"]))
    assert not (tmp_path / "out").exists()


def test_a_full_disk_and_a_second_command_are_told_in_a_line(write, tmp_path):
    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    command = [sys.executable, "tools/compare.py", write(), "--only-tables"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, preexec_fn=no_room, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"error: {tmp_path / 'out' / 'comparison.md'} could not be written: file too large\n"
    folder = tmp_path / "out" / "equal" / "1"
    folder.mkdir(parents=True)
    with lock_folder(folder), pytest.raises(BlockingIOError) as error:
        Training(folder, "", 1, ["true"], {})
    assert compare.told(error.value) == f"{folder}: another process is training there; wait for it or end it"
    assert compare.told(OSError(errno.EIO, "Input/output error")) == ""


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_from_its_checkpoint(write, tmp_path):
    solver = {**SMALL["SOLVER"], "MAX_ITER": 30, "CHECKPOINT_PERIOD": 2}
    file = write(seeds=[1], methods={"equal": {}}, overrides={**SMALL, "SOLVER": solver})
    command = [sys.executable, "tools/compare.py", file]
    run = tmp_path / "out" / "equal" / "1"
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (run / "last_checkpoint").exists():
            time.sleep(0.05)
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    starts = (run / "console.log").read_text().split("Starting training from iteration ")[1:]
    assert [int(text.split()[0]) > 0 for text in starts] == [False, True]
