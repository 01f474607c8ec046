"""The micro-batches of an update, which are in memory one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from mtl_d2.balancing.reduction import Reduction


@dataclass(frozen=True)
class MicroBatch:
    """Samples that cross the network together.

    The loss of task i over the whole batch is sum_k n_ik / n_i L_ik, with n_ik its samples in micro-batch k of all
    processes, n_i in all of them, and L_ik its loss there. Where a loss is a mean over samples this is the mean over
    the batch; where it is divided by something that is counted in a micro-batch (positives, pixels), or where batch
    norm takes statistics from it, it is what K smaller batches give.

    Attributes:
        first: place of its first sample in this process's share of the batch.
        length: number of its samples, 0 or more.
        shares: n_ik / n_i of each task, in [0, 1]; 0 for a task that no process has in it.
    """

    first: int
    length: int
    shares: tuple[float, ...]


def divide(
    sample_tasks: Sequence[tuple[str, ...]],
    names: Sequence[str],
    count: int,
    reduction: Reduction,
    device: torch.device,
) -> list[MicroBatch]:
    """As many micro-batches on every process, of samples in their order, as equal in length as can be.

    Args:
        sample_tasks: for each of this process's samples, the tasks that supervise it.
        names: the T tasks.
        count: K >= 1; for 1 nothing is asked of other processes.
        reduction: sums the (K, T) counts over processes.
        device: where collectives take place.
    """
    ends = [len(sample_tasks) * k // count for k in range(count + 1)]
    if count == 1:
        return [MicroBatch(0, len(sample_tasks), (1.0,) * len(names))]
    parts = [sample_tasks[first:end] for first, end in pairwise(ends)]
    local = [[float(sum(name in tasks for tasks in part)) for name in names] for part in parts]
    counts = reduction.total(torch.tensor(local, dtype=torch.float64, device=device))
    shares = (counts / counts.sum(0).clamp(min=1)).tolist()
    return [MicroBatch(first, len(part), tuple(own)) for first, part, own in zip(ends, parts, shares, strict=False)]
