"""Collectives over all processes, and how many bytes they send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

Arrival = Callable[[], Tensor]  # waits for a result and returns it


class Collectives:
    """Those that updates are made of, counted.

    Attributes:
        rank: this process, in [0, size).
        size: N, the number of processes.
        sent: bytes that this process has sent in each kind of collective, of those that work on the model's device,
            with the bandwidth-optimal algorithms: a tensor of n bytes costs 2 (N - 1) / N n in an all-reduce, half of
            that in a reduce-scatter and in an all-gather.
    """

    def __init__(self) -> None:
        """Of the default group, which is initialized; every process makes one at the same time."""
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.sent: Counter[str] = Counter()
        backend = dist.get_backend()
        # Control information is on the host, and so are the collectives for it: nothing waits for an accelerator.
        self._control = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo")
        self._scatter = SCATTERS.get(backend)

    @property
    def can_scatter(self) -> bool:
        """Whether ``reduce_scatter`` and ``all_gather`` are known to cost half an all-reduce each on this backend."""
        return self._scatter is not None

    @property
    def scatters_itself(self) -> bool:
        """Whether ``reduce_scatter`` is the backend's own, rather than made of another collective and our addition."""
        return self._scatter is _reduce_scatter

    def all_reduce(self, value: Tensor) -> Arrival:
        """Starts summing ``value`` over processes, in place."""
        self._count("all_reduce", value, 2)
        work = dist.all_reduce(value, async_op=True)

        def arrive() -> Tensor:
            work.wait()
            return value

        return arrive

    def reduce_scatter(self, value: Tensor) -> Arrival:
        """Starts summing ``value`` ((N n,)) over processes; each gets its (n,) of the sum."""
        assert self._scatter is not None
        self._count("reduce_scatter", value, 1)
        return self._scatter(value, self.size)

    def all_gather(self, part: Tensor) -> Tensor:
        """(N n,) the ``part`` ((n,)) of each process, in the order of their ranks."""
        whole = part.new_empty(self.size * part.numel())
        self._count("all_gather", whole, 1)
        dist.all_gather_into_tensor(whole, part)
        return whole

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each of ``numbers`` over processes."""
        values = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(values, op=dist.ReduceOp.MAX, group=self._control)
        return values.tolist()

    def numbers_of_all(self, numbers: Sequence[int]) -> list[list[int]]:
        """The ``numbers`` of each process, as many of each, in the order of their ranks."""
        local = torch.tensor(numbers, dtype=torch.int64)
        gathered = [torch.empty_like(local) for _ in range(self.size)]
        dist.all_gather(gathered, local, group=self._control)
        return [values.tolist() for values in gathered]

    def _count(self, kind: str, value: Tensor, halves: int) -> None:
        self.sent[kind] += halves * (self.size - 1) * value.numel() * value.element_size() // self.size


def _reduce_scatter(value: Tensor, size: int) -> Arrival:
    part = value.new_empty(value.numel() // size)
    work = dist.reduce_scatter_tensor(part, value, async_op=True)

    def arrive() -> Tensor:
        work.wait()
        return part

    return arrive


def _swap_and_add(value: Tensor, size: int) -> Arrival:
    """The same bytes: each process gets all processes' versions of its part, and adds them in the order of ranks."""
    versions = torch.empty_like(value)
    work = dist.all_to_all_single(versions, value, async_op=True)

    def arrive() -> Tensor:
        work.wait()
        return versions.view(size, -1).sum(0)

    return arrive


# By backend. Gloo's own reduce-scatter, where a version of torch has one, is an all-reduce inside.
SCATTERS: dict[str, Callable[[Tensor, int], Arrival]] = {"nccl": _reduce_scatter, "gloo": _swap_and_add}
