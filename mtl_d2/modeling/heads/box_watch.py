"""Whether FCOS's box regression lives."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

PERIOD = 50  # updates
SIDES = ("left", "upper", "right", "lower")

logger = logging.getLogger(__name__)


class BoxWatch:
    """Says so when a side of the predicted boxes has been dead for ``PERIOD`` updates; once as long as it stays so.

    detectron2 puts a ReLU on the distances of a box's sides from its anchor point. A side that is below 0 for all
    objects gets no gradient and stays on the anchor points: half a box at best, and with a left and a right side that
    are dead none at all. Counts stay on the device but for one transfer in ``PERIOD`` updates.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._counts: Tensor | None = None
        self._start = 0
        self._dead: set[str] = set()

    def __call__(self, counts: Tensor, update: int) -> None:
        """Takes a pass into account.

        Args:
            counts: (5,) of ``living_sides``, of all processes.
            update: number of the update that the pass belongs to.
        """
        if self._counts is None or update < self._start:
            self._counts, self._start = torch.zeros_like(counts), update
        elif update >= self._start + PERIOD:
            self._read(update)
        self._counts = self._counts.to(counts.device) + counts  # a model may have moved

    def _read(self, update: int) -> None:
        assert self._counts is not None
        points, *living = self._counts.tolist()
        if points:
            dead = {side for side, number in zip(SIDES, living, strict=True) if not number}
            if dead - self._dead:
                logger.warning(
                    "Updates %d to %d: FCOS puts the %s side of its box on the anchor point itself at all %d anchor "
                    "points of objects. That regression has died, for below 0 detectron2's ReLU passes no gradient. "
                    "Begin anew with a higher MODEL.FCOS.BOX_BIAS, a lower SOLVER.BASE_LR or a longer "
                    "SOLVER.WARMUP_ITERS.",
                    self._start,
                    update - 1,
                    " and ".join(side for side in SIDES if side in dead),
                    points,
                )
            self._dead = dead
        self._counts, self._start = torch.zeros_like(self._counts), update


def living_sides(deltas: list[Tensor], positive: Tensor) -> Tensor:
    """(5,) anchor points of objects; and those of them where each of ``SIDES`` lies beyond the anchor point.

    Args:
        deltas: of each level (N, H W, 4), distances of the sides; below 0 they count as 0.
        positive: (N, R) bool, the anchor points of objects.
    """
    beyond = (torch.cat(deltas, dim=1) > 0) & positive[..., None]  # (N, R, 4)
    return torch.cat([positive.sum()[None], beyond.sum((0, 1))])
