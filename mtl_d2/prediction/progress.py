"""How far a prediction is."""

from __future__ import annotations

from mtl_d2.pseudo_labels.progress import Progress
from mtl_d2.report.tables import duration


class FrameProgress(Progress):
    """Counts frames whose number may not be known."""

    def __init__(self, name: str, total: int | None) -> None:
        """Args: ``name`` of the source; ``total``, frames as far as is known."""
        super().__init__(name, 0, total or 0, total or 0, 1, True)
        self.total = total

    def line(self, seconds: float) -> str:
        """Frames, frames per second, and time left where the number of frames is known."""
        rate = self.done / max(seconds, 1e-6)
        total = self.total or 0
        of = f" of {total}" if self.done <= total else ""
        left = f", about {duration((total - self.done) / rate)} left" if 0 < self.done < total else ""
        return f"{self.dataset}: {self.done}{of} frames, {rate:.1f} a second{left}"
