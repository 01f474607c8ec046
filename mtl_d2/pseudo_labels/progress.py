"""How far a labelling is."""

from __future__ import annotations

import sys
import time

from mtl_d2.report.tables import duration

PERIOD = {True: 1.0, False: 30.0}  # seconds between two lines, on a terminal and in a log


class Progress:
    """Counts this process's images, and speaks for all processes where it is to speak."""

    def __init__(self, dataset: str, there: int, images: int, share: int, processes: int, speaks: bool) -> None:
        """Args: of the data set.

        Args:
            dataset: its name.
            there: images that have labels already.
            images: all of them.
            share: those that are this process's to label.
            processes: that label.
            speaks: whether this one says so.
        """
        self.dataset, self.there, self.images, self.share, self.processes = dataset, there, images, share, processes
        self.done, self.start, self.speaks = 0, time.monotonic(), speaks
        self._said = self.start

    def step(self) -> None:
        """One more image."""
        self.done += 1
        now = time.monotonic()
        if self.speaks and now - self._said >= PERIOD[sys.stdout.isatty()]:
            self._said = now
            self._print(self.line(now - self.start), "")

    def line(self, seconds: float) -> str:
        """Images, images per second, and time left, as far as this process knows of the others."""
        rate = self.done / max(seconds, 1e-6)
        total = self.there + round(self.done / max(self.share, 1) * (self.images - self.there))
        left = f", about {duration((self.share - self.done) / rate)} left" if 0 < self.done < self.share else ""
        return f"{self.dataset}: {total} of {self.images} images, {rate * self.processes:.1f} a second{left}"

    def end(self) -> None:
        """The last line."""
        if self.speaks and self.done:
            self._print(self.line(time.monotonic() - self.start), "\n")

    @staticmethod
    def _print(line: str, end: str) -> None:
        terminal = sys.stdout.isatty()
        sys.stdout.write(f"\r\033[K{line}{end}" if terminal else f"{line}\n")
        sys.stdout.flush()
