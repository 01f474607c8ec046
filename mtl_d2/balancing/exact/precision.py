"""Half precision in the forward passes, and the scale that keeps small float16 gradients from becoming 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

INITIAL_SCALE = 2.0**16
GROWTH_INTERVAL = 2000  # updates without an overflow after which the scale doubles


class Precision:
    """Autocast of the forward passes, and the loss scale of float16.

    Rules and numbers are those of ``torch.amp.GradScaler``: the scale starts at 2^16, doubles after 2000 updates
    without an overflow, and is halved by an update with one, which is skipped. That class itself looks for overflows in
    the ``.grad``s of an optimizer and keeps its verdict on the device; here gradients are taken task by task with
    ``autograd.grad``, the verdict has to be known before a method sees them, and it comes from the reduced losses and
    gradients, so that all processes have the same without asking each other.

    Attributes:
        dtype: of the autocast of forward passes, or None for none.
        scales: whether there is a loss scale: for float16.
        scale: what losses are multiplied by before a backward pass: a power of two, so that it is divided out exactly.
        skipped: number of updates so far that overflowed.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        """Args: ``dtype`` is ``torch.bfloat16``, which has the range of float32, ``torch.float16``, or None."""
        self.dtype = dtype
        self.scales = dtype is torch.float16
        self.scale = INITIAL_SCALE if self.scales else 1.0
        self.skipped = 0
        self._since = 0  # updates since the scale last changed

    @contextmanager
    def full(self) -> Iterator[None]:
        """Passes without autocast and scale."""
        kept = self.dtype, self.scale
        self.dtype, self.scale = None, 1.0
        try:
            yield
        finally:
            self.dtype, self.scale = kept

    def update(self, overflowed: bool) -> None:
        """Moves the scale after an update, made or skipped."""
        if not self.scales:
            return
        self._since = 0 if overflowed else self._since + 1
        if overflowed:
            self.skipped += 1
            self.scale /= 2
        elif self._since == GROWTH_INTERVAL:
            self.scale *= 2
            self._since = 0

    def state_dict(self) -> dict[str, float]:
        """The scale and its history; empty where there is none."""
        return {"scale": self.scale, "skipped": self.skipped, "since": self._since} if self.scales else {}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Goes on from ``state_dict``; without a scale before or from now on there is nothing to take over."""
        if self.scales and state_dict:
            self.scale = float(state_dict["scale"])
            self.skipped, self._since = int(state_dict["skipped"]), int(state_dict["since"])
