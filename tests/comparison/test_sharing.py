"""Runs that several processes share through one folder."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from made_up import UPDATES, planned

from mtl_d2.comparison.claims import CLAIM, Claims
from mtl_d2.comparison.runner import Runner
from mtl_d2.comparison.sharing import SharedRunner
from mtl_d2.comparison.state import FAILED, FINISHED, Outcome, read_outcome, write_outcome

FAKE = Path(__file__).with_name("fake_training.py")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def claim_of(folder, machine="another", process=1, word="w"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CLAIM).write_text(json.dumps({"machine": machine, "process": process, "word": word}))


def ended_process():
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def order(tmp_path):
    """Says what the trainings do from now on."""

    def write(text, updates=UPDATES):
        (tmp_path / "do").write_text(text)
        (tmp_path / "updates").write_text(str(updates))

    return write


def shared(jobs=1, **options):
    runner = Runner(lambda config: [sys.executable, "-S", str(FAKE), str(config)], jobs, (), 2)
    return SharedRunner(runner, Claims(**options), look=0.1)


def test_a_claim_keeps_others_out_until_it_is_released(tmp_path):
    first, second = Claims(), Claims()
    assert first.take(tmp_path)
    assert not second.take(tmp_path)
    assert f"process {os.getpid()}" in second.holder(tmp_path)
    second.release(tmp_path)  # not its own
    assert not second.take(tmp_path)
    first.release(tmp_path)
    assert second.take(tmp_path)
    second.close()
    assert first.take(tmp_path)
    first.close()


def test_of_many_that_want_it_at_once_one_gets_it(tmp_path):
    claim_of(tmp_path, Claims().machine, ended_process())  # void, and each finds it so
    everyone = [Claims() for _ in range(16)]
    taken = []
    start = threading.Barrier(len(everyone))

    def take(claims):
        start.wait()
        taken.append(claims.take(tmp_path))

    threads = [threading.Thread(target=take, args=(claims,)) for claims in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1
    assert [path.name for path in tmp_path.iterdir()] == [CLAIM]
    for claims in everyone:
        claims.close()


def test_a_claim_that_was_void_when_it_was_looked_at_is_looked_at_again_in_turn(tmp_path, monkeypatch):
    faster, slower = Claims(), Claims()
    assert faster.take(tmp_path)
    monkeypatch.setattr(slower, "_void", lambda path: "of the owner before" if path.name == CLAIM else None)
    assert not slower.take(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CLAIM]
    faster.close()
    assert not (tmp_path / CLAIM).exists()


def test_a_claim_without_a_sign_of_life_is_void_by_the_readers_own_clock(tmp_path):
    claim_of(tmp_path)
    os.utime(tmp_path / CLAIM, (0, 0))  # its owner's clock is decades behind
    clock = Clock()
    claims = Claims(stale=60, clock=clock)
    assert not claims.take(tmp_path)
    clock.now += 59
    os.utime(tmp_path / CLAIM, (1, 1))
    assert not claims.take(tmp_path)
    clock.now += 59
    (tmp_path / "metrics.json").write_text("{}")  # its training lives, whoever started it
    assert not claims.take(tmp_path)
    clock.now += 59
    assert not claims.take(tmp_path)
    clock.now += 1
    assert claims.take(tmp_path)
    claims.close()


def test_the_owner_gives_signs_of_life_and_notices_when_it_has_lost_a_claim(tmp_path):
    claims = Claims(beat=0.02)
    assert claims.take(tmp_path)
    os.utime(tmp_path / CLAIM, (0, 0))
    wait(lambda: (tmp_path / CLAIM).stat().st_mtime > 0)
    claim_of(tmp_path)
    wait(lambda: claims.lost == {tmp_path})
    claims.close()
    assert (tmp_path / CLAIM).exists()  # the other's


def test_two_commands_share_the_runs_and_each_run_is_trained_once(tmp_path, order):
    order("slow", 3)
    runs = [planned(tmp_path, f"m{i}", updates=3) for i in range(6)]
    commands, ended = [shared(), shared()], [[], []]
    threads = [threading.Thread(target=lambda k=k: ended[k].extend(commands[k](runs))) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for given in ended:
        assert sorted(run.label for run in given) == sorted(run.label for run in runs)
    for run in runs:
        assert read_outcome(run.folder).state == FINISHED
        assert len((run.folder / "metrics.json").read_text().splitlines()) == 3
        assert json.loads((run.folder / "seen.json").read_text())["start"] == 0
        assert not (run.folder / CLAIM).exists()


def test_what_another_machine_has_given_up_is_taken_over_and_what_it_has_ended_is_not_repeated(tmp_path, order):
    order("finish")
    given_up, finished, failed = (planned(tmp_path, name) for name in ("a", "b", "c"))
    for run in (given_up, finished, failed):
        claim_of(run.folder)

    def elsewhere():
        (given_up.folder / CLAIM).unlink(missing_ok=True)
        for run, outcome in ((finished, Outcome(FINISHED)), (failed, Outcome(FAILED, "no luck"))):
            if (run.folder / CLAIM).exists():
                write_outcome(run.folder, outcome)
                (run.folder / CLAIM).unlink()

    ended = list(shared()([given_up, finished, failed], elsewhere))
    assert len(ended) == 3
    assert (given_up.folder / "seen.json").exists()
    assert not (finished.folder / "seen.json").exists()
    assert read_outcome(failed.folder).reason == "no luck"


def test_an_owner_that_cannot_read_its_claim_for_a_moment_has_not_lost_it(tmp_path, monkeypatch):
    claims = Claims(beat=0.02)
    assert claims.take(tmp_path)
    read = Path.read_text
    failed = []

    def stale(path, *args, **kwargs):
        if path.name == CLAIM and len(failed) < 3:
            failed.append(path)
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", stale)
    wait(lambda: len(failed) == 3)
    os.utime(tmp_path / CLAIM, (0, 0))
    wait(lambda: (tmp_path / CLAIM).stat().st_mtime > 0)
    assert not claims.lost
    claims.close()


def test_a_training_whose_claim_was_lost_is_killed_and_the_run_is_waited_for(tmp_path, order):
    """It writes nothing into the folder any more: no outcome, and no checkpoint that is behind the other's."""
    order("slow", 300)
    run = planned(tmp_path, updates=300)
    command, seen = shared(beat=0.02), []

    def steal():
        if not seen and (run.folder / "last_checkpoint").exists():
            claim_of(run.folder)
            wait(lambda: command.claims.lost)
            seen.append("stolen")
        elif seen == ["stolen"] and not command.runner.children:
            seen.append((run.folder / "outcome.json").exists())
            write_outcome(run.folder, Outcome(FINISHED))
            (run.folder / CLAIM).unlink()

    assert list(command([run], steal)) == [run]
    assert seen == ["stolen", False]
    assert read_outcome(run.folder).state == FINISHED


def test_a_claim_that_another_has_had_and_given_back_is_lost_as_well(tmp_path, order):
    """The run was ended while this machine slept, and its results stay those of that machine."""
    order("slow", 300)
    run = planned(tmp_path, updates=300)
    command, made = shared(beat=0.02), []

    def sleep_too_long():
        if not made and (run.folder / "last_checkpoint").exists():
            write_outcome(run.folder, Outcome(FINISHED, "", 1, 2.0))
            (run.folder / CLAIM).unlink()
            made.append(command.runner.children[0].training.process)

    assert list(command([run], sleep_too_long)) == [run]
    assert made[0].returncode == -signal.SIGKILL
    assert read_outcome(run.folder) == Outcome(FINISHED, "", 1, 2.0)


def wait(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
