"""A report that follows a run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from synthetic_run import loss_rows

from mtl_d2.report import watch as module
from mtl_d2.report.following import Following
from mtl_d2.report.page import write_report

REPOSITORY = Path(__file__).resolve().parents[2]


class Clock:
    """Does something in the place of each sleep, then interrupts."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def sleep(self, seconds):
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()

    def time_ns(self):
        self.now = getattr(self, "now", 0) + 1
        return self.now


def versions(folder):
    """Of the page, "" for one that follows nothing, and of the script beside it."""
    page = re.search(r'data-version="(\d+)"', (folder / "report.html").read_text())
    return page[1] if page else "", re.search(r'"(\d+)"', (folder / module.CHANGES).read_text())[1]


def log(folder, rows, end=""):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows) + end)


def test_a_page_is_written_when_the_run_has_logged_more_and_only_then(tmp_path, monkeypatch):
    folder, seen, said = tmp_path / "run", [], []

    def look():
        seen.append(versions(folder))

    def more():
        look()
        log(folder, loss_rows(9), end='{"iteration": 9, "total')

    def finished():
        look()
        assert "9 updates" in (folder / "report.html").read_text()
        assert "is cut" not in (folder / "report.html").read_text()  # it is being written

    clock = Clock(lambda: None, lambda: log(folder, loss_rows(3)), look, more, finished)
    monkeypatch.setattr(module, "time", clock)
    module.watch(folder, None, 1.0, said.append)
    assert seen == [("1", "1"), ("1", "1"), ("2", "2")]
    assert versions(folder) == ("", "3")
    assert "is cut" in (folder / "report.html").read_text()
    assert said[0].startswith(f"waiting for a run in {folder}")
    assert len(said) == 3


def test_interrupted_while_it_waits_it_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "time", Clock())
    module.watch(tmp_path, None, 1.0, lambda line: None)
    assert not list(tmp_path.iterdir())


def test_a_page_that_follows_says_nothing_of_what_is_not_there_yet(tmp_path):
    log(tmp_path, loss_rows(3))
    (tmp_path / "config.yaml").write_text("SOLVER: {MAX_ITER: 300}")
    html = write_report(tmp_path, None, Following("c.js", "1", 2.0)).read_text()
    assert 'data-changes="c.js" data-version="1" data-seconds="2"' in html
    assert "stopped early" not in html
    assert 'class="warnings"' not in html
    assert "stopped early" in write_report(tmp_path).read_text()


def test_ctrl_c_ends_the_tool_without_a_traceback(tmp_path):
    command = [sys.executable, "tools/report.py", "--run", str(tmp_path / "later"), "--watch", "0.1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )
    assert "waiting for a run in" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
