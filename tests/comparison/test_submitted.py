"""Runs as jobs of submitit's local executor, with a script in place of a training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up import UPDATES, planned

from mtl_d2.comparison.cluster import LocalCluster
from mtl_d2.comparison.job_records import read_record
from mtl_d2.comparison.state import FAILED, FINISHED, INTERRUPTED, read_outcome
from mtl_d2.comparison.submitted import SubmittedRunner, cancel_all
from mtl_d2.locks import is_locked

pytest.importorskip("submitit", reason="submitit is not installed")

FAKE = Path(__file__).with_name("fake_training.py")


@pytest.fixture
def order(tmp_path, monkeypatch):
    """Says what the trainings do from now on, and how many updates they make."""
    monkeypatch.setenv(
        "PYTHONPATH", str(Path(__file__).resolve().parents[2]) + os.pathsep + os.environ.get("PYTHONPATH", "")
    )

    def write(text, updates=UPDATES):
        (tmp_path / "do").write_text(text)
        (tmp_path / "updates").write_text(str(updates))

    yield write
    cancel_all(tmp_path, lambda name: cluster(tmp_path))


def cluster(folder, at_once=2):
    return LocalCluster(folder, at_once)


def runner(folder, at_once=2, **options):
    return SubmittedRunner(
        cluster(folder, at_once), folder, lambda config: [sys.executable, "-S", str(FAKE), str(config)], **options
    )


def updates(run):
    log = run.folder / "metrics.json"
    return [json.loads(line)["iteration"] for line in log.read_text().splitlines()] if log.exists() else []


def wait(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def submit_and_leave(folder, run):
    """A command that is ended while its job trains."""
    with pytest.raises(KeyboardInterrupt):
        list(runner(folder)([run], lambda: interrupt(len(updates(run)) > 1)))
    return read_record(run.folder)


def interrupt(when):
    if when:
        raise KeyboardInterrupt


def test_jobs_leave_what_processes_leave_and_failures_have_their_reason(tmp_path, order):
    order("finish")
    runs = [planned(tmp_path, name) for name in ("a", "b", "c")]
    ended = list(runner(tmp_path, environment=lambda place, on_gpu: {"CUDA_VISIBLE_DEVICES": str(place)})(runs))
    assert sorted(run.label for run in ended) == sorted(run.label for run in runs)
    assert [read_outcome(run.folder).state for run in runs] == [FINISHED] * 3
    assert all(read_outcome(run.folder).memory > 2**20 for run in runs)
    seen = [json.loads((run.folder / "seen.json").read_text())["CUDA_VISIBLE_DEVICES"] for run in runs]
    assert sorted(seen[:2]) == ["0", "1"]  # at first; the third takes the first place that is free
    assert seen[2] in ("0", "1")
    assert not any(read_record(run.folder) for run in runs)

    order("diverge")
    failing = planned(tmp_path, "d")
    list(runner(tmp_path)([failing]))
    assert read_outcome(failing.folder).state == FAILED
    assert read_outcome(failing.folder).reason == "update 1: the loss is not finite for task a."


def test_a_later_command_waits_for_the_job_that_an_earlier_one_has_left(tmp_path, order):
    order("slow", 30)
    run = planned(tmp_path, updates=30)
    record = submit_and_leave(tmp_path, run)
    assert not cluster(tmp_path).state(record.job)
    later = runner(tmp_path)
    seen = []
    list(later([run], lambda: seen.extend(job.record.job for job in later.jobs)))
    assert set(seen) == {record.job}
    assert updates(run) == list(range(30))
    assert read_outcome(run.folder).state == FINISHED


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL], ids=["preempted", "killed"])
def test_a_job_that_is_taken_away_goes_on_from_its_checkpoint(tmp_path, order, number):
    order("slow", 12)
    run = planned(tmp_path, updates=12)
    waiting, taken = runner(tmp_path), []

    def take_away():
        if not taken and len(updates(run)) > 2:
            taken.append(processes_of(waiting.jobs[0].record.job))
            for process in taken[0] if number == signal.SIGKILL else taken[0][1:2]:
                os.kill(process, number)

    list(waiting([run], take_away))
    assert read_outcome(run.folder).state == FINISHED
    assert json.loads((run.folder / "seen.json").read_text())["start"] > 0
    assert updates(run) == list(range(12))


def test_an_interrupt_while_jobs_are_handed_over_is_heard_once_they_are_recorded(tmp_path, order, monkeypatch, request):
    order("slow", 300)
    runs = [planned(tmp_path, name, updates=300) for name in ("a", "b")]
    place = cluster(tmp_path)
    submit = place.submit

    def submit_interrupted(jobs):
        signal.raise_signal(signal.SIGINT)
        return submit(jobs)

    monkeypatch.setattr(place, "submit", submit_interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        list(SubmittedRunner(place, tmp_path, lambda config: [sys.executable, "-S", str(FAKE), str(config)])(runs))
    assert all(read_record(run.folder) for run in runs)


def test_a_job_that_has_come_to_no_checkpoint_is_not_queued_again(tmp_path, order):
    order("hang")
    run = planned(tmp_path)
    waiting, preempted = runner(tmp_path), []

    def preempt():
        if not preempted and updates(run):
            preempted.append(processes_of(waiting.jobs[0].record.job)[1])
            os.kill(preempted[0], signal.SIGUSR2)

    assert list(waiting([run], preempt)) == [run]
    outcome = read_outcome(run.folder)
    assert outcome.state == INTERRUPTED
    assert "ended by signal SIGTERM; its job" in outcome.reason
    assert outcome.reason.endswith("_0_log.err")
    assert Path(outcome.reason.split(": ")[-1]).exists()


def test_a_cancelled_job_stops_in_order_and_is_not_followed_by_another(tmp_path, order):
    order("slow", 300)
    run = planned(tmp_path, updates=300)
    waiting = runner(tmp_path)
    cancelled = []

    def cancel():
        if not cancelled and len(updates(run)) > 2:
            cancelled.extend(cancel_all(tmp_path, lambda name: cluster(tmp_path)))

    list(waiting([run], cancel))
    assert len(cancelled) == 1
    outcome = read_outcome(run.folder)
    assert outcome.state == INTERRUPTED
    assert outcome.reason.startswith(f"stopped after {len(updates(run))} of 300 updates; its job")
    assert "was cancelled" in outcome.reason
    assert not is_locked(run.folder)
    assert cancel_all(tmp_path, lambda name: cluster(tmp_path)) == []


def processes_of(job):
    """A job's first process, submitit's second, and the training."""
    line = [int(job)]
    while after := children(line[-1]):
        line += after[:1]
    return line


def children(process):
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in told.stdout.split()]
