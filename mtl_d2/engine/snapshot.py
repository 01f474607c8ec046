"""What an update may have changed by the time it turns out to have overflowed."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from mtl_d2.balancing import Balancer


class Snapshot:
    """Puts a skipped update back to where it began.

    Running statistics and loss normalizers go back too: activations that overflowed would stay in them for ever.
    """

    def __init__(
        self, model: nn.Module, balancer: Balancer, optimizer: torch.optim.Optimizer, parameters: bool
    ) -> None:
        """To be made before the update.

        Args:
            model: its buffers are copied.
            balancer: the methods' state is copied.
            optimizer: of the model.
            parameters: copy parameters and optimizer state too, which a step of one move changes when all is known.
        """
        self._model, self._balancer, self._optimizer = model, balancer, optimizer
        self._buffers = [buffer.clone() for buffer in model.buffers()]
        self._methods = deepcopy(balancer.state_dict())
        self._parameters = [p.detach().clone() for p in model.parameters()] if parameters else []
        self._state = deepcopy(optimizer.state_dict()) if parameters else None

    def restore(self) -> None:
        """Undoes the update and drops its gradients."""
        with torch.no_grad():
            for buffer, before in zip(self._model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
            for parameter, before in zip(self._model.parameters(), self._parameters, strict=False):
                parameter.copy_(before)
        self._balancer.load_state_dict(self._methods)
        if self._state is not None:
            self._optimizer.load_state_dict(self._state)
        self._optimizer.zero_grad()
