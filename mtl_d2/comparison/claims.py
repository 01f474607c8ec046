"""Runs that several machines share through one folder: who has which, by files that say that somebody is alive.

Locks of open files may not reach from one machine to another on a network's file system. A claim is a file that is made
in one move (a hard link, which no file system makes twice) and that its owner touches every few seconds. It counts as
given up once nothing has changed for ``STALE`` seconds *of the reader's own clock*, so clocks need not agree.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mtl_d2.comparison.errors import ComparisonError

CLAIM = ".claim"
BEAT = 15.0  # seconds between two signs of life
STALE = 300.0  # seconds without one after which a run is free again
# Where a training shows that it lives even if whoever started it does not.
SIGNS = (CLAIM, "console.log", "metrics.json")


def this_machine() -> str:
    """What tells this machine, as it has been since it was started, from others; containers have names of their own."""
    places = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid"))
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):  # there is no /proc on macOS
        words += [places[0].read_text(encoding="ascii").strip(), os.readlink(places[1])]
    return " ".join(words)


class Claims:
    """The claims of one process; a thread keeps them alive until each is released."""

    def __init__(self, beat: float = BEAT, stale: float = STALE, clock: Callable[[], float] = time.monotonic) -> None:
        """Claims nothing yet.

        Args:
            beat: seconds between two signs of life.
            stale: seconds without one after which others' claims are void; several times ``beat``.
            clock: seconds since some moment.
        """
        self.machine = this_machine()
        self.word = secrets.token_hex(16)  # of this process: nobody else's claims hold it
        self.beat = beat
        self.stale = stale
        self.clock = clock
        self.held: set[Path] = set()
        self.lost: set[Path] = set()
        self._signs: dict[Path, tuple[object, float]] = {}  # of others' claims: what was seen, and since when
        self._lock = threading.Lock()
        self._end: threading.Event | None = None  # ends the thread, where there is one

    def take(self, folder: Path) -> bool:
        """Claims a run's folder, which is made; False where another process has it and is alive.

        Raises:
            ComparisonError: the file system cannot do it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CLAIM
        if not self._link(path) and not self._take_over(path):
            return False
        self._signs.pop(path, None)
        with self._lock:
            self.held.add(folder)
        if self._end is None:
            self._end = threading.Event()
            threading.Thread(target=self._keep_alive, args=(self._end,), daemon=True).start()
        return True

    def release(self, folder: Path) -> None:
        """Gives a folder back."""
        with self._lock:
            self.held.discard(folder)
            self.lost.discard(folder)
            if _owner(folder / CLAIM).get("word") == self.word:
                (folder / CLAIM).unlink(missing_ok=True)

    def close(self) -> None:
        """Gives everything back; more can be taken later."""
        if self._end is not None:
            self._end.set()
            self._end = None
        for folder in list(self.held):
            self.release(folder)

    def holder(self, folder: Path) -> str:
        """`HOST, process PID` of whoever has claimed a folder; "" if nobody has."""
        owner = _owner(folder / CLAIM)
        return f"{owner['machine'].split()[0]}, process {owner['process']}" if owner else ""

    def _write(self, folder: Path) -> Path:
        text = json.dumps({"machine": self.machine, "process": os.getpid(), "word": self.word})
        path = folder / f"{CLAIM}.{self.word}"
        path.write_text(text, encoding="utf-8")
        return path

    def _link(self, path: Path) -> bool:
        """Makes a claim whole in one move; False if there is one."""
        written = self._write(path.parent)
        try:
            os.link(written, path)
        except FileExistsError:
            return False
        except OSError as error:
            why = f"{path.parent}: --share needs a file system with hard links; this one: {error.strerror}"
            raise ComparisonError("the comparison's folder", [why]) from error
        finally:
            written.unlink()
        return True

    def _take_over(self, path: Path) -> bool:
        """Puts this process's claim in the place of a void one; one process at a time does so."""
        word = self._void(path)
        turn = path.with_name(f"{CLAIM}.turn")
        if word is None:
            return False
        if not self._link(turn):
            if self._void(turn) is not None:
                turn.unlink(missing_ok=True)  # whoever had its turn was ended in the midst of it
            return False
        try:
            if _owner(path).get("word") != word:
                return False
            self._write(path.parent).replace(path)
            return True
        finally:
            turn.unlink(missing_ok=True)

    def _void(self, path: Path) -> str | None:
        """The word of a claim whose owner is known to be gone, or has given no sign of life for too long."""
        owner = _owner(path)
        word = owner.get("word")
        if word is None:
            return None
        if owner.get("machine") == self.machine and not _lives(int(owner["process"])):
            return word
        seen = (word, _stamp(path), *(_stamp(path.with_name(name)) for name in SIGNS))
        before, since = self._signs.get(path, (None, 0.0))
        if seen != before:
            self._signs[path] = (seen, self.clock())
            return None
        return word if self.clock() - since >= self.stale else None

    def _keep_alive(self, end: threading.Event) -> None:
        while not end.wait(self.beat):
            with self._lock:
                for folder in self.held:
                    self._touch(folder)

    def _touch(self, folder: Path) -> None:
        """Gives a sign of life, or finds that another has taken the folder, as where this machine was asleep for long.

        The other may have ended the run by now, and have given the folder back.
        """
        try:
            if json.loads((folder / CLAIM).read_text(encoding="utf-8"))["word"] == self.word:
                os.utime(folder / CLAIM)
            else:
                self.lost.add(folder)
        except FileNotFoundError:
            self.lost.add(folder)
        except (OSError, ValueError, KeyError):  # a disk that is away for a moment
            return


def _owner(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
