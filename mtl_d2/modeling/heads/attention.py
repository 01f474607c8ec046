"""What the attention of a task is made of, in MTAN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def attention(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """Two 1x1 convolutions with batch norm that make a mask in (0, 1); args: channels."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, middle, 1), nn.BatchNorm2d(middle), nn.ReLU(inplace=True)),
        *(nn.Conv2d(middle, outputs, 1), nn.BatchNorm2d(outputs), nn.Sigmoid()),
    )


class SharedBlocks:
    """Convolutions that the trunk holds and the layers of every task use.

    They belong to the trunk: here they are no submodules, so that they have one name, and no task has them alone. In a
    copy of the whole model the layers use the copy's.
    """

    def __init__(self) -> None:
        """Knows no trunk yet."""
        self._blocks: nn.ModuleDict | None = None

    def of(self, trunk: Any) -> None:
        """Takes those of ``trunk``."""
        self._blocks = trunk.attention_blocks

    def __call__(self, name: str, x: Tensor) -> Tensor:
        """What the block ``name`` makes of ``x``.

        Raises:
            RuntimeError: the layers are not in a model.
        """
        if self._blocks is None:
            raise RuntimeError("layers of MTAN use convolutions of their trunk: call look_into(trunk) first")
        return self._blocks[name](x)


def beside(shared: Tensor, attended: Tensor | None) -> Tensor:
    """What a mask is made of: a map of the trunk and, after the first stage, the task's own map."""
    return shared if attended is None else torch.cat([shared, attended], 1)


class AttendingLayers(nn.Module):
    """Layers of a task that attend to a trunk, with blocks that are the trunk's; ``output`` are its last layers."""

    output: nn.Module

    def __init__(self) -> None:
        """Knows no trunk yet."""
        super().__init__()
        self.blocks = SharedBlocks()

    @property
    def predictor(self) -> Any:
        """The last convolution."""
        return self.output.predictor

    def look_into(self, trunk: nn.Module) -> None:
        """Uses the ``attention_blocks`` of ``trunk`` from now on."""
        self.blocks.of(trunk)
