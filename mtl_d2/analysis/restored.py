"""A model that is measured, and afterwards is what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Restored:
    """Has every batch find a model in the same state, and puts the model back at the end.

    What is put back: buffers (running statistics, normalizers of losses), the modes of modules, ``.grad`` of
    parameters, and torch's generators. What a model keeps elsewhere, in attributes that are no buffers, it keeps.
    """

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        """Args: the model; what the generators begin each batch with, together with the batch's number."""
        self._model, self._seed = model, seed
        self._buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        self._modes = {module: module.training for module in model.modules()}
        self._gradients = {parameter: parameter.grad for parameter in model.parameters()}

    @contextmanager
    def training(self) -> Iterator[None]:
        """The model is in training mode, until it is put back."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices=list(devices)):
            try:
                self._model.train()
                yield
            finally:
                self._put_back()
                for module, mode in self._modes.items():
                    module.training = mode
                for parameter, gradient in self._gradients.items():
                    parameter.grad = gradient

    def begin(self, batch: int) -> None:
        """The state that each batch finds."""
        self._put_back()
        torch.manual_seed(self._seed + batch)

    def _put_back(self) -> None:
        current = dict(self._model.named_buffers())
        with torch.no_grad():
            for name, value in self._buffers.items():
                current[name].copy_(value)
