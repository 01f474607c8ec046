"""Processes of a comparison, with a script in place of a training."""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from made_up import UPDATES, planned

from mtl_d2.comparison.progress import Progress, Ration
from mtl_d2.comparison.runner import Runner
from mtl_d2.comparison.state import (
    CONFIG,
    FAILED,
    FINISHED,
    INTERRUPTED,
    NEW,
    Outcome,
    changes,
    read_outcome,
    set_aside,
    write_outcome,
)
from mtl_d2.locks import is_locked, lock_folder

FAKE = Path(__file__).with_name("fake_training.py")


@pytest.fixture
def order(tmp_path):
    """Says what the trainings do from now on."""
    (tmp_path / "updates").write_text(str(UPDATES))

    def write(text):
        (tmp_path / "do").write_text(text)

    return write


def runner(jobs=1, gpus=(), cores=8):
    return Runner(lambda config: [sys.executable, "-S", str(FAKE), str(config)], jobs, gpus, cores)


def run_all(runs, **options):
    return list(runner(**options)(runs, lambda: None))


def seen(run):
    return json.loads((run.folder / "seen.json").read_text())


def test_runs_finish_each_in_its_folder_with_config_log_and_cost(tmp_path, order):
    order("finish")
    runs = [planned(tmp_path, name, seed) for name in ("a", "b") for seed in (1, 2)]
    assert sorted(run.label for run in run_all(runs, jobs=2)) == sorted(run.label for run in runs)
    for run in runs:
        outcome = read_outcome(run.folder)
        assert outcome.state == FINISHED
        assert outcome.memory > 2**20
        assert (run.folder / CONFIG).read_text() == run.config


@pytest.mark.parametrize(
    ("what", "reason"),
    [("fail", "RuntimeError: out of luck"), ("diverge", "update 1: the loss is not finite for task a.")],
)
def test_a_failed_run_is_kept_with_its_reason_and_the_others_go_on(tmp_path, order, what, reason):
    order(what)
    runs = [planned(tmp_path, "a"), planned(tmp_path, "b")]
    run_all(runs)
    assert [read_outcome(run.folder).state for run in runs] == [FAILED, FAILED]
    assert read_outcome(runs[0].folder).reason == reason


def test_a_run_that_fails_again_has_the_reason_of_the_last_time(tmp_path, order):
    run = planned(tmp_path)
    order("diverge")
    run_all([run])
    order("fail")
    run_all([run])
    assert read_outcome(run.folder).reason == "RuntimeError: out of luck"


def test_a_run_that_ended_in_order_before_its_last_update_is_not_finished(tmp_path, order):
    order("stop")
    run = planned(tmp_path)
    run_all([run])
    assert read_outcome(run.folder) == Outcome(
        INTERRUPTED, "stopped after 1 of 4 updates", read_outcome(run.folder).memory, read_outcome(run.folder).seconds
    )
    order("finish")
    run_all([run])
    assert read_outcome(run.folder).state == FINISHED
    assert seen(run)["start"] == 1


def test_an_interrupt_ends_the_processes_and_the_runs_go_on_later(tmp_path, order, monkeypatch):
    order("hang")
    runs = [planned(tmp_path, "a"), planned(tmp_path, "b")]
    several = runner(jobs=2)

    def tick():
        if all((run.folder / "metrics.json").exists() for run in runs):
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(several(runs, tick))
    assert time.monotonic() - started < 30
    assert [read_outcome(run.folder).state for run in runs] == [INTERRUPTED, INTERRUPTED]
    assert not several.children
    assert not any(is_locked(run.folder) for run in runs)


def test_leaving_early_ends_the_processes_as_well(tmp_path, order):
    order("finish")
    first, second = planned(tmp_path, "a"), planned(tmp_path, "b")
    several = runner()
    with contextlib.closing(several([first, second], lambda: None)) as ended:
        next(ended)
    assert not several.children


def test_a_killed_process_is_no_failure(tmp_path, order):
    order("hang")
    run = planned(tmp_path)
    several = runner()

    def tick():
        for child in several.children if (run.folder / "metrics.json").exists() else ():
            os.kill(child.training.process.pid, signal.SIGKILL)

    list(several([run], tick))
    assert read_outcome(run.folder).state == INTERRUPTED
    assert "SIGKILL" in read_outcome(run.folder).reason


def test_a_comparison_that_was_killed_leaves_runs_to_go_on_with(tmp_path):
    run = planned(tmp_path)
    assert read_outcome(run.folder).state == NEW
    run.folder.mkdir(parents=True)
    (run.folder / CONFIG).write_text(run.config)
    assert read_outcome(run.folder).state == INTERRUPTED


def test_cores_are_divided_and_gpus_go_round(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    several = runner(jobs=3, gpus=("4", "7"), cores=8)
    assert several.environment(0, on_gpu=False)["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in several.environment(0, on_gpu=False)
    assert [several.environment(slot, on_gpu=True)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "7", "4"]
    assert runner(jobs=9, cores=2).environment(0, on_gpu=False)["OMP_NUM_THREADS"] == "1"


def test_a_folder_in_use_is_refused(tmp_path, order):
    order("finish")
    run = planned(tmp_path)
    run.folder.mkdir(parents=True)
    with lock_folder(run.folder), pytest.raises(BlockingIOError, match="another process is training"):
        run_all([run])
    run_all([run])
    assert read_outcome(run.folder).state == FINISHED


def test_a_changed_config_is_told_key_by_key_and_a_folder_set_aside_keeps_everything(tmp_path):
    run, longer = planned(tmp_path), planned(tmp_path, updates=9)
    assert changes(run.folder, run.config) == []
    run.folder.mkdir(parents=True)
    (run.folder / CONFIG).write_text(run.config)
    assert changes(run.folder, run.config) == []
    assert changes(run.folder, longer.config) == ["SOLVER.MAX_ITER 4 -> 9"]
    assert changes(run.folder, longer.config + "NEW: 1\n") == ["SOLVER.MAX_ITER 4 -> 9"]
    assert set_aside(run.folder).name == "1.old1"
    run.folder.mkdir()
    assert set_aside(run.folder).name == "1.old2"
    assert (tmp_path / "equal" / "1.old1" / CONFIG).exists()


def test_time_left_by_hand(tmp_path):
    """Of 8 updates 4 are made in 10 s, beside those of before: the other 4 take 10 s."""
    runs = [planned(tmp_path, "a", updates=6), planned(tmp_path, "b", updates=6)]
    for run in runs:
        run.folder.mkdir(parents=True)
    log = runs[0].folder / "metrics.json"
    log.write_text('{"iteration": 3}\n')
    now = [100.0]
    progress = Progress(runs, clock=lambda: now[0])
    assert progress.line() == "0 of 2 runs, 33% of all updates"
    now[0] += 10
    write_outcome(runs[0].folder, Outcome(FINISHED))
    (runs[1].folder / "metrics.json").write_text('{"iteration": 1}\n{"itera')
    assert progress.line() == "1 of 2 runs, 67% of all updates, 10 s left"
    write_outcome(runs[1].folder, Outcome(FAILED, "no luck"))
    assert progress.line() == "2 of 2 runs, 100% of all updates"


def test_what_is_rationed_takes_no_more_than_its_share_of_the_time():
    now, used = [0.0], [0.0]

    def work():
        used[0] += 2.0
        now[0] += 3.0  # others had the processor for a second

    ration = Ration(0.01, clock=lambda: now[0], cost=lambda: used[0])
    times = 0
    while now[0] < 10_000:
        if ration.due:
            ration.spend(work)
            times += 1
        now[0] += 1.0
    assert times == 50  # one in 200 seconds after the one before, whose 3 seconds do not count
    assert used[0] <= 0.01 * now[0]
