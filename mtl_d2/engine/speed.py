"""What makes the same network faster on some machines, or smaller in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtl_d2.config import ConfigError
from mtl_d2.modeling.recompute import recompute, recompute_losses


def speed_up(model: Any, cfg: Any) -> None:
    """Applies ``MTL.CHANNELS_LAST``, ``RECOMPUTE`` and ``COMPILE`` to a ``MultiTaskMixin``, its trunk above all.

    Names and values of its parameters and buffers stay, so that checkpoints go from one setting to the other.

    Raises:
        ConfigError: the trunk cannot be recomputed.
    """
    if cfg.MTL.CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)
        model.backbone.register_forward_pre_hook(_channels_last)
    if cfg.MTL.RECOMPUTE:
        try:
            recompute(model.backbone)
        except ValueError as error:
            raise ConfigError(f"MTL.RECOMPUTE cannot be True: {error}, or set it to False") from error
        recompute_losses(model)
    if cfg.MTL.COMPILE:
        # Memory that a backward pass gives away for reuse would be missing in the next task's.
        if hasattr(torch._functorch.config, "donated_buffer"):  # not in torch 2.4
            torch._functorch.config.donated_buffer = False
        model.backbone.compile(dynamic=True)


def _channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
