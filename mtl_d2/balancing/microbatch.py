"""The micro-batches of an update, which are in memory one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


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


def bounds(length: int, count: int) -> list[tuple[int, int]]:
    """(first, end) of ``count`` stretches of ``length`` samples, in their order, as equal as can be."""
    return list(pairwise(length * k // count for k in range(count + 1)))


def counts(sample_tasks: Sequence[tuple[str, ...]], names: Sequence[str], count: int) -> list[list[int]]:
    """(K, T) samples of each task in each of this process's micro-batches.

    Args:
        sample_tasks: for each of this process's samples, the tasks that supervise it.
        names: the T tasks.
        count: K >= 1.
    """
    parts = [sample_tasks[first:end] for first, end in bounds(len(sample_tasks), count)]
    return [[sum(name in tasks for tasks in part) for name in names] for part in parts]


def divide(length: int, everywhere: Sequence[Sequence[int]]) -> list[MicroBatch]:
    """As many micro-batches on every process.

    Args:
        length: number of this process's samples.
        everywhere: (K, T) ``counts``, summed over processes.
    """
    whole = [max(sum(column), 1) for column in zip(*everywhere, strict=True)]
    shares = [tuple(n / total for n, total in zip(row, whole, strict=True)) for row in everywhere]
    places = bounds(length, len(everywhere))
    return [MicroBatch(first, end - first, own) for (first, end), own in zip(places, shares, strict=True)]
