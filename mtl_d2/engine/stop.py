"""Ends a training in good order when the process is asked to: after an update, with a checkpoint, on all processes."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm

_PATIENCE = b"\nStopping after the next update, with a checkpoint. Ctrl-C once more ends the training at once.\n"


class StopTraining(BaseException):  # no error: the training was asked to stop
    """Leaves the loop of updates; not an ``Exception``, which would be logged as a failure."""


class DiskRefused(BaseException):  # becomes an error once the loop is left
    """Leaves the loop of updates without the log of a failure, which would bury what is to be said."""


class StopRequest:
    """Hears SIGTERM and SIGINT, and has all processes agree on the update to stop after.

    An agreement needs a collective, and one that is waited for would cost every update the slowest link's latency. So
    the question put after an update is answered after the next one: a sum of one number over gloo, in the background of
    a whole update. All processes thus stop after the same update, at most two after the signal.

    Attributes:
        after: updates of the training after which to stop anyway, the same for all processes; 0: none.
    """

    after = 0

    def __init__(self) -> None:
        """Takes the group of processes that is initialized now; all of them have to."""
        self.requested = False
        self._previous: dict[int, Any] = {}
        self._group = dist.new_group(backend="gloo") if comm.get_world_size() > 1 else None
        self._pending: tuple[Any, torch.Tensor] | None = None

    def listen(self) -> None:
        """From now on the signals are heard; Python allows that in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}

    def forget(self, *numbers: int) -> None:
        """These signals, all by default, do again what they did before ``listen``."""
        for number in numbers or tuple(self._previous):
            if number in self._previous:
                signal.signal(number, self._previous.pop(number))

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the next one ends the process at once
            if comm.is_main_process():
                with suppress(OSError):  # no standard error
                    os.write(2, _PATIENCE)  # past Python's streams, which may be in the midst of a line

    def agreed(self, updates: int) -> bool:
        """Whether to stop now, after so many updates; asked by all processes after each update."""
        due = 0 < self.after <= updates
        if self._group is None:
            return self.requested or due
        answer = self._answer() or due
        asked = torch.tensor([float(self.requested)])
        self._pending = (dist.all_reduce(asked, group=self._group, async_op=True), asked)
        return answer

    def _answer(self) -> bool:
        if self._pending is None:
            return False
        work, count = self._pending
        work.wait()
        return bool(count.item())
