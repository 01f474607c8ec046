"""What makes the same network faster on some machines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def speed_up(model: Any, cfg: Any) -> None:
    """Applies ``MTL.CHANNELS_LAST`` and ``MTL.COMPILE`` to a ``MultiTaskMixin``, whose ``backbone`` all tasks share.

    Names and values of its parameters and buffers stay, so that checkpoints go from one setting to the other.
    """
    if cfg.MTL.CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)
        model.backbone.register_forward_pre_hook(_channels_last)
    if cfg.MTL.COMPILE:
        # Memory that a backward pass gives away for reuse would be missing in the next task's.
        if hasattr(torch._functorch.config, "donated_buffer"):  # not in torch 2.4
            torch._functorch.config.donated_buffer = False
        model.backbone.compile(dynamic=True)


def _channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
