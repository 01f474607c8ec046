"""The command as a user gives it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "data"))

from tiny_bdd100k import write_tiny_bdd100k  # noqa: E402

SMALL = [
    "SOLVER.MAX_ITER",
    "2",
    "SOLVER.STEPS",
    "(1,)",
    "INPUT.MIN_SIZE_TRAIN",
    "(48,)",
    "MODEL.FPN.OUT_CHANNELS",
    "16",
]


def train_net(root, *arguments):
    command = [sys.executable, "tools/train_net.py", "--config-file", "configs/sample_scenes_mclgs.yaml", *arguments]
    env = {**os.environ, "DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_tiny_bdd100k(root)
    return root


def test_trains_resumes_and_evaluates_with_the_same_numbers(root, tmp_path):
    run = ["OUTPUT_DIR", str(tmp_path), *SMALL]
    trained = train_net(root, *run)
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert (tmp_path / "report.html").stat().st_size > 10_000
    resumed = train_net(root, "--resume", *run, "SOLVER.MAX_ITER", "3")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "Starting training from iteration 2" in resumed.stdout + resumed.stderr
    final = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth"), "TEST.EXPECTED_RESULTS"]
    evaluated = train_net(root, "--eval-only", *run, *final, "[['bbox', 'AP', 50, 50]]")
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    failed = train_net(root, "--eval-only", *run, *final, "[['bbox', 'AP', 120, 10]]")
    assert failed.returncode == 1
    assert "Result verification failed" in failed.stdout + failed.stderr
    numbers = [
        [line.split("copypaste: ")[1] for line in (out.stdout + out.stderr).splitlines() if "copypaste: " in line]
        for out in (resumed, evaluated)
    ]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MTL.GRADIENT.AGGREGATOR", "meen"], "did you mean 'mean'?"),
        (["DATASETS.TRAIN", "('bdd100k_det_train',)", "MTL.DATA.PER_DATASET", "()"], "semantic"),
    ],
)
def test_mistakes_end_in_one_clear_message_without_a_traceback(root, tmp_path, overrides, message):
    done = train_net(root, "OUTPUT_DIR", str(tmp_path), *overrides)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_root_is_told_with_the_variable_that_sets_it(tmp_path):
    done = train_net(tmp_path / "nowhere", "OUTPUT_DIR", str(tmp_path))
    assert done.returncode == 1
    assert "DETECTRON2_DATASETS" in done.stderr
    assert "Traceback" not in done.stderr
