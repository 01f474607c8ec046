"""Several passes over one batch that differ in the parameters alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Replay:
    """Makes further passes of an update see what its first pass saw.

    Random draws (dropout, sampling) and buffers (running statistics, loss normalizers) are put back to what they were
    before the first pass; what the further passes do to the buffers is undone, so that an update moves them once.
    """

    def __init__(self, model: nn.Module) -> None:
        """To be made before the first pass."""
        self._model = model
        self._before = self._buffers()
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def _buffers(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self._model.named_buffers()}

    @contextmanager
    def again(self) -> Iterator[None]:
        """A further pass."""
        buffers, cpu = self._buffers(), torch.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self._set(self._before, self._cpu, self._cuda)
        try:
            yield
        finally:
            self._set(buffers, cpu, cuda)

    def _set(self, buffers: dict[str, Tensor], cpu: Tensor, cuda: list[Tensor]) -> None:
        current = dict(self._model.named_buffers())
        for name, value in buffers.items():
            current[name].copy_(value)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
