"""The report of a run that goes on: written anew whenever the run's folder has changed, in a page that follows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from mtl_d2.files import write_atomically
from mtl_d2.report.file_names import CONFIG, METRICS, PICTURE_FOLDER, PICTURE_INDEX, REPORT, RESULTS
from mtl_d2.report.following import Following

CHANGES = "report.changes.js"  # says to an open page which version is the newest
State = tuple[tuple[int, int], ...]
READ = (CONFIG, METRICS, RESULTS, f"{PICTURE_FOLDER}/{PICTURE_INDEX}")  # what a report is made of


def watch(folder: Path, title: str | None, seconds: float, say: Callable[[str], None]) -> None:
    """Writes `OUTPUT_DIR/report.html` until Ctrl-C, and then once more as a page that follows nothing.

    Args:
        folder: OUTPUT_DIR of a run, which may be there only later.
        title: heading of the page; by default the folder's name.
        seconds: between two looks at the folder.
        say: takes a line for the user.
    """
    seen: State = ()
    try:
        _wait(folder, seconds, say)
        while True:
            state = _state(folder)
            if state != seen:
                _write(folder, title, seconds)
                if not seen:
                    say(f"{folder / REPORT} follows the run, looked at every {seconds:g} s (Ctrl-C ends)")
                seen = state
            time.sleep(seconds)
    except KeyboardInterrupt:
        if seen:
            _write(folder, title, None)
            say(f"{folder / REPORT} is written for the last time")


def _wait(folder: Path, seconds: float, say: Callable[[str], None]) -> None:
    """Returns when there is something of a run in the folder."""
    if not _is_there(folder):
        say(f"waiting for a run in {folder}: no {CONFIG}, {METRICS} or {RESULTS} yet (Ctrl-C ends)")
    while not _is_there(folder):
        time.sleep(seconds)


def _is_there(folder: Path) -> bool:
    return any(size for _, size in _state(folder))


def _write(folder: Path, title: str | None, seconds: float | None) -> None:
    """The page, and then the file that tells an open one of it."""
    from mtl_d2.report.page import write_report  # brings Matplotlib, which nobody waits for who waits for a run

    version = str(time.time_ns())
    write_report(folder, title, Following(CHANGES, version, seconds) if seconds else None)
    changes = folder / CHANGES
    write_atomically(changes, f"window.mtlReportVersion?.({json.dumps(version)})\n")


def _state(folder: Path) -> State:
    """Time of change and size of each file that is read, (0, 0) of one that is not there."""
    return tuple(_stamp(folder / name) for name in READ)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
