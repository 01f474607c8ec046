"""A comparison by each executor, as a user makes one."""

import json
import os
import signal
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
from mtl_d2.comparison.job_records import recorded  # noqa: E402

MADE_UP = [sys.executable, "-S", str(REPOSITORY / "tools" / "benchmark_compare_run.py")]
SMALL = {
    "SOLVER": {"MAX_ITER": 3, "STEPS": [1], "WARMUP_ITERS": 0, "CHECKPOINT_PERIOD": 1},
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
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def to_file(updates=3, **changes):
        overrides = {**SMALL, "SOLVER": {**SMALL["SOLVER"], "MAX_ITER": updates}}
        base = str(REPOSITORY / "configs" / "sample_scenes_equal.yaml")
        content = {
            "base": base,
            "output": str(tmp_path / "out"),
            "seeds": [1, 2],
            "overrides": overrides,
            "methods": {"equal": {}},
            **changes,
        }
        path = tmp_path / "file.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return to_file


def texts(folder):
    """What people read, without what depends on time."""
    markdown = (folder / "comparison.md").read_text().partition("Cost")[0]
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("equal/*/results.json")}
    return markdown, (folder / "comparison.csv").read_text(), results


@pytest.mark.parametrize("options", [["--executor", "local"], ["--share"]], ids=["local", "share"])
def test_page_and_tables_do_not_depend_on_who_trains(write, tmp_path, monkeypatch, options):
    if "local" in options:
        pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setattr(compare, "command", lambda config: [*MADE_UP, str(config), "0", "3", "3"])
    file = write()
    assert compare.main(compare.parse([file])) == 0
    assert compare.main(compare.parse([file, "--jobs", "2", "--output", str(tmp_path / "other"), *options])) == 0
    assert len(texts(tmp_path / "out")[2]) == 2
    assert texts(tmp_path / "out") == texts(tmp_path / "other")
    assert (tmp_path / "other" / "comparison.html").stat().st_size > 10_000


def test_a_run_that_is_a_job_is_refused_by_processes_and_left_alone_by_a_new_beginning(write, tmp_path):
    folder = tmp_path / "out" / "equal" / "1"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"executor": "slurm", "job": "12_0", "host": "login"}))
    with pytest.raises(ComparisonError, match="equal, seed 1: it is job 12_0 of --executor slurm"):
        compare.main(compare.parse([write()]))
    (folder / "comparison.yaml").write_text("SOLVER: {MAX_ITER: 2}\n")
    planned = compare.plan_runs(compare.read_comparison(write()))
    with pytest.raises(ComparisonError, match="it is job 12_0"):
        compare.prepare(planned, rerun_changed=True, alone=False)
    assert folder.exists()


@pytest.mark.slow
def test_jobs_outlive_their_command_which_finds_them_again(write, tmp_path):
    pytest.importorskip("submitit", reason="submitit is not installed")
    out, other = tmp_path / "out", tmp_path / "other"
    file = write(updates=8, seeds=[1])
    command = [sys.executable, "tools/compare.py", file, "--executor", "local"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out / "equal" / "1" / "last_checkpoint").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped waiting; the jobs go on" in said
    assert f"tools/compare.py {file} --cancel" in said
    assert len(list(recorded(out))) == 1
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    console = (out / "equal" / "1" / "console.log").read_text()
    assert console.count("Starting training from iteration ") == 1
    by_processes = [sys.executable, "tools/compare.py", file, "--output", str(other)]
    assert subprocess.run(by_processes, cwd=REPOSITORY, capture_output=True, check=False).returncode == 0
    assert texts(out)[1:] == texts(other)[1:]
