"""DWA: dynamic weight average."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_d2.balancing.counting import updates
from mtl_d2.balancing.interfaces import Context, Setup, UpdateResult, Weighting
from mtl_d2.balancing.registry import WEIGHTINGS
from mtl_d2.balancing.scalarization import FLOOR
from mtl_d2.balancing.weighting.first_losses import warn_if_idle
from mtl_d2.options import number, whole


@WEIGHTINGS.named("dwa")
class DWA(Weighting):
    """Gives more weight to a task whose loss falls more slowly.

    Paper: Liu, Johns and Davison, End-to-end multi-task learning with attention, CVPR 2019,
    https://arxiv.org/abs/1803.10704, eq. 7.
        w_i = T softmax_i(r_i / temperature),   r_i = mean loss of the last window / of the window before it
    r_i = 1 until task i has two windows.
    Differs from: the paper by windows of ``PERIOD`` updates, where it has epochs. A window's mean is over the updates
    that had the task; a task that a whole window lacks keeps the two means it had. A mean of 0 counts as r_i = 1. No
    weight is below 1e-12.
    """

    needs_losses = False
    options = {
        "period": whole(
            400,
            "updates in a window; the paper's is an epoch, on NYUv2 with 2 images in a batch 397 updates",
            scales=updates,
        ),
        "temperature": number(2.0, "the larger, the more equal the weights (the paper's T)", above=0),
    }

    sums: Tensor
    counts: Tensor
    updates: Tensor
    last: Tensor
    before: Tensor

    def __init__(self, setup: Setup, period: int, temperature: float) -> None:
        """Args are those of ``options``."""
        super().__init__(setup)
        self.tasks = setup.tasks
        self.period = period
        warn_if_idle(setup, 2 * period, "MTL.SCALARIZATION.DWA.PERIOD, of which it takes two")
        self.temperature = temperature
        for name in ("sums", "last", "before"):  # of this window; means of the last window and of the one before it
            self.register_buffer(name, torch.zeros(setup.num_tasks, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(setup.num_tasks, dtype=torch.int64))  # of this window, by task
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))  # of this window

    def rates(self) -> Tensor:
        """(T,) r_i >= 0."""
        known = self.before > 0  # 0: none so far
        ones = torch.ones_like(self.last)
        return torch.where(known, self.last / torch.where(known, self.before, ones), ones)

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
