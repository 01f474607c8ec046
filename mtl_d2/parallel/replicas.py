"""Whether all processes still have the same parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_d2.parallel.all_ranks import AllRanks

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an element


class ReplicaError(RuntimeError):
    """Processes that should be copies of each other are not."""


class ReplicaCheck:
    """Compares checksums of parameters and of the balancer's state over processes every so many updates.

    A checksum is a sum of the bit patterns, so that any single difference shows. One pass over the parameters and one
    number from each process; only where those differ, the checksum of each parameter.
    """

    def __init__(self, period: int, model: nn.Module, balancer: nn.Module, reduction: AllRanks) -> None:
        """Args: updates between comparisons, >= 1; whose parameters; whose parameters and buffers; the processes."""
        self.period = period
        self.tensors: dict[str, Tensor] = dict(model.named_parameters())
        self.tensors |= {f"balancer.{name}": p for name, p in balancer.named_parameters()}
        self.tensors |= {f"balancer.{name}": b for name, b in balancer.named_buffers()}
        self.collectives = reduction.collectives

    def __call__(self, update: int) -> None:
        """Compares after every ``period``-th update, counted from 0.

        Raises:
            ReplicaError: on every process, if two of them differ.
        """
        if (update + 1) % self.period == 0:
            self.compare(update)

    def compare(self, update: int) -> None:
        """Compares now; see ``__call__``."""
        sums = checksums(list(self.tensors.values()))
        places = torch.arange(1, len(sums) + 1, device=sums.device)
        (whole,) = zip(*self.collectives.numbers_of_all([int((sums * places).sum())]), strict=True)
        if len(set(whole)) == 1:
            return
        of_each = self.collectives.numbers_of_all(sums.tolist())
        for name, values in zip(self.tensors, zip(*of_each, strict=True), strict=True):
            if len(set(values)) > 1:
                raise ReplicaError(self._message(update, name, values))

    def _message(self, update: int, name: str, values: Sequence[int]) -> str:
        groups: dict[int, list[int]] = {}
        for rank, value in enumerate(values):
            groups.setdefault(value, []).append(rank)
        parted = " and ".join(f"ranks {ranks}" for ranks in groups.values())
        since, advice = f"after update {update}", "Go back to the last checkpoint"
        if self.period > 1:
            since = f"after an update from {max(update - self.period + 1, 0)} to {update}"
            advice += "; with MTL.CHECK_REPLICAS 1 the update is named"
        return f"{since} (counted from 0) the processes differ: first in {name}, between {parted}. {advice}"


def checksums(tensors: Sequence[Tensor]) -> Tensor:
    """(K,) int64 sums of the bit patterns of K tensors, modulo 2^64, each element times its place."""
    sums = []
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        bits = flat.view(BITS[flat.element_size()]).to(torch.int64)
        sums.append((bits * torch.arange(1, len(bits) + 1, device=bits.device)).sum())
    return torch.stack([value.to(sums[0].device) for value in sums])
