"""What losses were in a window of the training, to compare later ones with."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from mtl_d2.balancing.interfaces import Setup, UpdateResult

logger = logging.getLogger(__name__)


def warn_if_idle(setup: Setup, begins: int, keys: str) -> None:
    """Says that a weighting which begins with update ``begins`` does not do so in this run.

    Args:
        setup: of the run.
        begins: first update whose weights are not those of the beginning.
        keys: of the config, which set it.
    """
    if begins >= setup.total_updates:
        logger.warning(
            "%s: the weights follow the losses from update %d on, but SOLVER.MAX_ITER is %d: they stay as they begin. "
            "Lower it, to a tenth of the training for example",
            keys,
            begins,
            setup.total_updates,
        )


class WindowMeans(nn.Module):
    """Mean loss of each task over the updates ``begin`` <= t < ``begin`` + ``length`` that had it.

    A task that all of them lack has the mean over its first update after them.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, num_tasks: int, begin: int, length: int) -> None:
        """Args: the window, in updates: ``begin`` >= 0, ``length`` >= 1."""
        super().__init__()
        self.begin = begin
        self.end = begin + length
        self.register_buffer("sums", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(num_tasks, dtype=torch.int64))

    def observe(self, result: UpdateResult) -> None:
        """Adds the losses of an update."""
        if result.update >= self.begin:
            wanted = result.present & (result.losses > 0)
            wanted &= (self.counts == 0) | (result.update < self.end)
            self.sums[wanted] += result.losses[wanted]
            self.counts[wanted] += 1

    def known(self, update: int) -> Tensor:
        """(T,) bool: which tasks have a mean in ``update``, which begins after the window has ended."""
        return (self.counts > 0) & (update >= self.end)

    def means(self) -> Tensor:
        """(T,) float64 > 0 where they are known; 1 for tasks without."""
        return torch.where(self.counts > 0, self.sums / self.counts.clamp(min=1), 1.0)
