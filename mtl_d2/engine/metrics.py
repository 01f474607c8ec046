"""``metrics.json`` and TensorBoard events that a killed and resumed run leaves as one that never stopped would."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.engine import hooks
from detectron2.utils.events import EventStorage, JSONWriter, TensorboardXWriter

from mtl_d2.files import naming, write_atomically

WINDOW = 20  # values of which the writers log the median, as in detectron2


class MetricsFile(JSONWriter):
    """detectron2's writer, going on after a row."""

    def __init__(self, path: Path, last_row: int) -> None:
        """Args: the file; the iteration of the last row that stays, -1 = none."""
        self._path = path
        with naming(path):
            keep_rows(path, last_row)
            super().__init__(str(path), WINDOW)
        self._last_write = last_row

    def write(self) -> None:
        """See detectron2. Raises WriteError: the disk does not take the row."""
        with naming(self._path):
            super().write()

    @property
    def last_row(self) -> int:
        """Iteration of the last row, -1 before there is one."""
        return self._last_write


class TensorboardEvents(TensorboardXWriter):
    """detectron2's writer, going on after a step; TensorBoard forgets what a killed run wrote of later ones."""

    def __init__(self, folder: Path, last_step: int) -> None:
        """Args: where the event files are; the last step that stays, -1 = none."""
        self._files = folder / "events.out.tfevents.*"
        super().__init__(str(folder), WINDOW, purge_step=last_step + 1)
        self._last_write = last_step

    def write(self) -> None:
        """See detectron2. Raises WriteError: the disk did not take the events of an update before."""
        with naming(self._files):
            super().write()


class LogFiles(hooks.PeriodicWriter):
    """Writes both on the main process. It opens them when the training begins, when it is known where it begins.

    A checkpoint holds which row was the last, and the values that the next rows are medians of.
    """

    def __init__(self, folder: str, period: int) -> None:
        """Args: ``OUTPUT_DIR``; updates between two rows, >= 1."""
        super().__init__([], period)
        self.folder = Path(folder)
        self._last_row = -1
        self._values: Mapping[str, Any] = {}

    def before_train(self) -> None:
        """Cuts off the rows that were written after the checkpoint."""
        if self.trainer.start_iter == 0:
            _set_aside(self.folder / "metrics.json")
        restore_values(self.trainer.storage, self._values)
        self._file = MetricsFile(self.folder / "metrics.json", self._last_row)
        self._writers = [self._file, TensorboardEvents(self.folder, self._last_row)]

    def state_dict(self) -> dict[str, Any]:
        """What the next row depends on, besides the next updates."""
        return {"last_row": self._file.last_row, "values": recent_values(self.trainer.storage)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes effect when the training begins."""
        self._last_row = state_dict["last_row"]
        self._values = state_dict["values"]


def recent_values(storage: EventStorage) -> dict[str, Any]:
    """The last ``WINDOW`` values of each scalar by name: whether to smooth, and pairs (value, iteration)."""
    hints = storage.smoothing_hints()
    return {
        name: {"smooth": hints[name], "values": history.values()[-WINDOW:]}
        for name, history in storage.histories().items()
    }


def restore_values(storage: EventStorage, values: Mapping[str, Any]) -> None:
    """Puts into a new storage what ``recent_values`` took from another; its iteration stays."""
    iteration = storage.iter
    for name, history in values.items():
        for value, at in history["values"]:
            storage.iter = at
            storage.put_scalar(name, value, smoothing_hint=history["smooth"])
    storage.iter = iteration


def keep_rows(path: Path, last: int) -> None:
    """Cuts off the rows of iterations after ``last``, and one that a kill has cut in two."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    kept = "".join(line for line in text.splitlines(keepends=True) if _iteration(line) <= last)
    if kept != text:
        write_atomically(path, kept)


def _iteration(line: str) -> float:
    """That of a row; infinity if it is none."""
    try:
        return float(json.loads(line)["iteration"]) if line.endswith("\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _set_aside(path: Path) -> None:
    """A run that begins anew begins an empty file; what an earlier one wrote in the same folder is kept beside it."""
    if path.exists():
        os.replace(path, path.with_suffix(".old.json"))
