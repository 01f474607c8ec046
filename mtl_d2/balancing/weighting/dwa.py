"""DWA: dynamic weight average."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_d2.balancing.base import Context, Setup, UpdateResult
from mtl_d2.balancing.build import WEIGHTINGS
from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.strategies import Weighting
from mtl_d2.balancing.weighting.options import FLOOR, check_number, check_whole


@WEIGHTINGS.named("dwa")
class DWA(Weighting):
    """Gives more weight to a task whose loss falls more slowly.

    Paper: Liu, Johns and Davison, End-to-end multi-task learning with attention, CVPR 2019, eq. 7.
        w_i = T softmax_i(r_i / temperature),   r_i = mean loss of the last window / of the window before it
    r_i = 1 until task i has two windows.
    Differs from: the paper by windows of ``PERIOD`` updates, where it has epochs. A window's mean is over the updates
    that had the task; a task that a whole window lacks keeps the two means it had. A mean of 0 counts as r_i = 1. No
    weight is below 1e-12.
    """

    needs_losses = False
    defaults = {"period": 400, "temperature": 2.0}
    help = {
        "period": "updates in a window, >= 1; the paper's is an epoch, on NYUv2 with 2 images in a batch 397 updates",
        "temperature": "> 0; the larger, the more equal the weights (the paper's T)",
    }
    scaling = {"period": updates}

    sums: Tensor
    counts: Tensor
    updates: Tensor
    last: Tensor
    before: Tensor

    def __init__(self, setup: Setup, period: int, temperature: float) -> None:
        """Args are those of ``help``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.period = period
        self.temperature = temperature
        for name in ("sums", "last", "before"):  # of this window; means of the last window and of the one before it
            self.register_buffer(name, torch.zeros(setup.num_tasks, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(setup.num_tasks, dtype=torch.int64))  # of this window, by task
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))  # of this window

    @classmethod
    def check(cls, options: Mapping[str, object], setup: Setup) -> list[str]:
        """Ranges."""
        return [*check_whole(options, "period"), *check_number(options, "temperature", above=0)]

    def rates(self) -> Tensor:
        """(T,) r_i >= 0."""
        known = self.before > 0  # 0: none so far
        one = torch.ones_like(self.last)
        return torch.where(known, self.last / torch.where(known, self.before, one), one)

    def forward(self, context: Context) -> Tensor:
        """(T,) weights > 0 that add up to T."""
        return (self.rates() / self.temperature).softmax(0).clamp(min=FLOOR) * len(self.last)

    def observe(self, result: UpdateResult) -> None:
        """Adds the losses to the window's."""
        present = result.present
        self.sums[present] += result.losses[present]
        self.counts[present] += 1
        self.updates += 1
        if self.updates < self.period:
            return
        seen = self.counts > 0
        self.before[seen] = self.last[seen]
        self.last[seen] = self.sums[seen] / self.counts[seen]
        for buffer in (self.sums, self.counts, self.updates):
            buffer.zero_()

    def scalars(self) -> dict[str, float]:
        """r_i."""
        return {f"rate_{task}": rate for task, rate in zip(self.tasks, self.rates().tolist(), strict=True)}
