"""What a detector divides its losses by: a moving average of the positives of all processes.

It stands still in an update without any, and is a buffer, so that checkpoints hold it. Labels of each source have one
of their own, since a teacher that finds less, or more, than was annotated has other numbers of positives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_d2.tasks.task import LabelSource


def register_normalizers(detector: nn.Module, sources: Sequence[LabelSource], initial: float) -> None:
    """Gives a detector the buffer ``loss_normalizer``, and one for each further source of labels."""
    for source in sources:
        detector.register_buffer(_name(source), torch.tensor(initial, dtype=torch.float64))


def normalizer_of(detector: nn.Module, source: LabelSource) -> Tensor:
    """The buffer for labels of ``source``."""
    return detector.get_buffer(_name(source))


def move_normalizer(normalizer: Tensor, positives: Tensor, momentum: float = 0.9) -> None:
    """Moves it by the number of positives, where there are any; nothing waits for the number.

    Args:
        normalizer: the buffer.
        positives: of all processes.
        momentum: of the moving average.
    """
    moved = (normalizer * momentum).add_(positives, alpha=1 - momentum)
    normalizer.copy_(moved.where(positives > 0, normalizer))


def _name(source: LabelSource) -> str:
    return f"{source.prefix.replace('/', '_')}loss_normalizer"
