"""Trainings that are killed and resumed in fresh processes, against one that never stopped; and two processes."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import kill_test  # noqa: E402
import kill_test_run  # noqa: E402

kill_test_run.SMALL |= {"SOLVER.MAX_ITER": 6, "SOLVER.STEPS": (4,), "TEST.EVAL_PERIOD": 4}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("kills")
    kill_test_run.prepare(work)
    return work


def wait_for(condition, training):
    deadline = time.monotonic() + 200
    while not condition():
        assert not training.ended(), training.log.read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def end(training, number=None):
    """The first process's exit status; the signal is given to the last process alone, SIGKILL to all."""
    for process in training.processes if number == signal.SIGKILL else training.processes[-1:]:
        if number is not None:
            process.send_signal(number)
    return [process.wait(200) for process in training.processes]


def torchrun(words, work):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    done = subprocess.run(command, env=kill_test_run.environment(work), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def numbers(log):
    return re.findall(r"copypaste: (.*)", log)


@pytest.fixture(scope="module")
def whole(work):
    training = kill_test_run.Training(work / "whole", work, ranks=1, period=4)
    assert end(training) == [0], training.log.read_text()[-3000:]
    return training.log.read_text()


def require_same(folder, whole):
    assert kill_test.rows(folder) == kill_test.rows(whole)
    last = [kill_test.fingerprint(path / "model_final.pth") for path in (folder, whole)]
    assert last[0] == last[1]


def test_three_kills_change_nothing(work, whole):
    folder = work / "killed"
    training = kill_test_run.Training(folder, work, ranks=1, period=2)
    wait_for(training.writes_checkpoint, training)
    assert end(training, signal.SIGKILL) == [-signal.SIGKILL]

    training = kill_test_run.Training(folder, work, ranks=1, period=100)
    wait_for(lambda: "Starting training" in training.log.read_text(), training)
    assert end(training, signal.SIGTERM) == [0]
    assert "with --resume goes on" in training.log.read_text()
    stopped = max(kill_test.checkpoints(folder))
    assert kill_test.rows(folder)[-1]["iteration"] == stopped

    training = kill_test_run.Training(folder, work, ranks=1, period=100)
    wait_for(lambda: any(row["iteration"] > stopped for row in kill_test.rows(folder)), training)
    assert end(training, signal.SIGKILL) == [-signal.SIGKILL]
    assert max(kill_test.checkpoints(folder)) == stopped

    assert end(kill_test_run.Training(folder, work, ranks=1, period=100)) == [0]
    require_same(folder, work / "whole")
    assert not list(folder.glob(".*.part"))


def test_two_processes_stop_together_and_go_on_as_if_they_had_not(work):
    torchrun(kill_test_run.command(work / "whole of two", work, 4), work)
    folder = work / "two"
    training = kill_test_run.Training(folder, work, ranks=2, period=100)
    wait_for(lambda: "Starting training" in training.log.read_text(), training)
    assert end(training, signal.SIGTERM) == [0, 0]  # heard by the second process alone
    assert len(kill_test.checkpoints(folder)) == 1
    training = kill_test_run.Training(folder, work, ranks=2, period=100)
    wait_for((folder / "model_final.pth").exists, training)
    assert end(training, signal.SIGTERM) == [0, 0]  # the second process waits for the first in the last evaluation
    require_same(folder, work / "whole of two")


def test_two_processes_evaluate_to_the_table_of_one(work, whole):
    words = kill_test_run.command(work / "evaluated", work, 4)
    words[1] = "--eval-only"
    log = torchrun([*words, "MODEL.WEIGHTS", str(work / "whole" / "model_final.pth")], work)
    assert numbers(log) == numbers(whole)[-6:]
    assert len(numbers(log)) == 6
