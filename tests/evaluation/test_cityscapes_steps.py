"""Processes of Cityscapes' scripts: how many, what they say where they fail, and that none outlives its parent."""

import os
import subprocess
import sys

import pytest

from mtl_d2.data import DataError
from mtl_d2.evaluation import cityscapes_steps
from mtl_d2.evaluation.cityscapes import require_scripts
from mtl_d2.evaluation.cityscapes_steps import PROCESSES, count, processes

WAIT = "import time; time.sleep(600)"


@pytest.fixture
def started(monkeypatch):
    """Processes run what Python code the job is."""
    processes_started = []

    def start(step, stem):
        code = stem.with_suffix(".job").read_text().strip('"')
        with stem.with_suffix(".said").open("wb") as said:
            processes_started.append(
                subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=said, stderr=said)
            )
        return processes_started[-1]

    monkeypatch.setattr(cityscapes_steps, "_start", start)
    return processes_started


def test_as_many_as_the_ranks_share_of_the_cpus_or_as_wanted(monkeypatch):
    usable = len(os.sched_getaffinity(0))
    assert processes({}) == usable
    assert processes({PROCESSES: "3"}) == 3
    monkeypatch.setattr(cityscapes_steps.comm, "get_local_size", lambda: usable + 1)
    assert processes({}) == 1


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "", "1.5"])
def test_a_number_of_processes_that_is_none_is_refused_before_the_training(monkeypatch, wanted):
    monkeypatch.setenv(PROCESSES, wanted)
    with pytest.raises(DataError, match=f"{PROCESSES} must be a whole number above 0, got '{wanted}'"):
        require_scripts("any")


def test_images_are_shared_and_no_process_is_started_for_a_few(monkeypatch, tmp_path):
    shares = []

    def run(step, jobs, folder):
        shares.extend(jobs)
        return [{task: {truth: len(truth) for _, truth in pairs} for task, pairs in job.items()} for job in jobs]

    monkeypatch.setattr(cityscapes_steps, "_run", run)
    pairs = [(f"{i}.txt", "t" * i) for i in range(13)]
    assert count({"instance": pairs}, tmp_path, 2) == {"instance": {"t" * i: i for i in range(13)}}
    assert [len(share["instance"]) for share in shares] == [7, 6]
    shares.clear()
    count({"instance": pairs}, tmp_path, 9)
    assert [len(share["instance"]) for share in shares] == [4, 3, 3, 3]
    shares.clear()
    count({"instance": pairs[:3]}, tmp_path, 9)
    assert [len(share["instance"]) for share in shares] == [3]
    assert count({"instance": []}, tmp_path, 9) == {"instance": {}}


def test_the_first_failure_is_said_and_ends_the_others(started, tmp_path):
    with pytest.raises(RuntimeError, match=r"^Cityscapes' scripts: no such road$"):
        cityscapes_steps._run("count", [WAIT, "import sys; sys.exit('no such road')"], tmp_path)
    assert all(process.returncode for process in started)


def test_a_killed_process_is_told_of(started, tmp_path):
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(RuntimeError, match=f"ended by signal 9: if it was for memory, set {PROCESSES} below 2"):
        cityscapes_steps._run("count", [killed, WAIT], tmp_path)


def test_an_interruption_leaves_no_process_behind(started, tmp_path, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(cityscapes_steps.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cityscapes_steps._run("count", [WAIT, WAIT], tmp_path)
    assert [process.returncode for process in started] == [-9, -9]


def test_a_process_ends_when_the_one_that_started_it_is_gone(tmp_path):
    os.mkfifo(tmp_path / "count_0.job")  # reading waits for somebody to write
    process = cityscapes_steps._start("count", tmp_path / "count_0")
    process.stdin.close()  # as the system does for a dead process
    assert process.wait(timeout=60) == 1


def test_what_an_image_lacks_is_said_in_one_line(tmp_path):
    pytest.importorskip("cityscapesscripts")
    with pytest.raises(RuntimeError) as error:
        count({"semantic": [("p.png", "t.png")]}, tmp_path, 1)
    assert str(error.value) == "Cityscapes' scripts: t.png: Unable to load p.png"
    with pytest.raises(RuntimeError, match=r"^Cityscapes' scripts: t\.png: FileNotFoundError: .*t\.png'$"):
        count({"instance": [("p.txt", "t.png")]}, tmp_path, 1)
