"""Normalization layers by the name a config gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from detectron2.layers import Conv2d, NaiveSyncBatchNorm
from torch import nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm of 8 groups, or as many as there are channels.

    detectron2's "GN" has 32 groups, which narrow layers and one-channel outputs do not divide into.
    """
    return nn.GroupNorm(min(8, channels), channels)


def narrow_norm(name: str) -> str | Callable[[int], nn.Module]:
    """The norm of a config for layers of any width: detectron2's by its name, but ``group_norm`` for ``GN``."""
    return group_norm if name == "GN" else name


def synchronizes(module: nn.Module) -> bool:
    """Whether ``module`` is a batch norm in training whose statistics are those of all processes."""
    return isinstance(module, nn.SyncBatchNorm | NaiveSyncBatchNorm) and module.training


@contextmanager
def without_samples(module: nn.Module) -> Iterator[None]:
    """For passes of ``module`` on no sample, which torch's SyncBN joins in like any other.

    detectron2's convolutions in front of one refuse them, in training: it could not do them once. Nothing else in them
    asks whether they are in training; their norms, which do, stay in it.
    """
    convolutions = [layer for layer in module.modules() if isinstance(layer, Conv2d) and layer.training]
    for layer in convolutions:
        layer.training = False
    try:
        yield
    finally:
        for layer in convolutions:
            layer.training = True
