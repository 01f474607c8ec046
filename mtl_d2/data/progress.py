"""What a start is at, said while it takes its time."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

QUIET = 5.0  # seconds after which it is said
PERIOD = 10.0  # seconds between two lines from then on


class Progress:
    """Says on the console what is being done, from ``QUIET`` seconds on; nothing of what is done before.

    There is no log yet while data are read.
    """

    def __init__(self, quiet: float = QUIET, period: float = PERIOD) -> None:
        """Args: ``quiet`` and ``period`` in seconds."""
        self._quiet, self._period = quiet, period
        self._doing = ""
        self._ended = threading.Event()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._say, daemon=True)

    def now(self, doing: str) -> None:
        """What is being done from now on."""
        self._doing = doing

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _say(self) -> None:
        pause = self._quiet
        while not self._ended.wait(pause):
            sys.stderr.write(f"{self._doing} ({time.monotonic() - self._start:.0f} s)\n")
            sys.stderr.flush()
            pause = self._period
