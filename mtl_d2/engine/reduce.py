"""Sums over processes for one update."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn

from mtl_d2.balancing.reduction import Reduction


class AllRanks(Reduction):
    """Collectives over all processes of the default group."""

    def __init__(self) -> None:
        """Takes the group that is initialized now."""
        self.world_size = comm.get_world_size()
        self.rank = comm.get_rank()

    def total(self, value: Tensor) -> Tensor:
        """``value`` summed over processes."""
        value = value.clone()
        dist.all_reduce(value)
        return value

    def average(self, value: Tensor) -> Tensor:
        """``value`` averaged over processes."""
        return self.total(value) / self.world_size

    def average_gradients(self, gradients: list[Tensor | None], like: Iterable[Tensor]) -> list[Tensor | None]:
        """Gradients averaged over processes in one flat all-reduce; see ``Reduction``."""
        like = list(like)
        if not like:
            return gradients
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
        known = torch.stack([p.new_tensor(float(g is not None)) for g, p in zip(gradients, like, strict=True)])
        flat = self.average(torch.cat([known, *(part.reshape(-1) for part in parts)]))
        used = flat[: len(like)].tolist()
        averaged = flat[len(like) :].split([p.numel() for p in like])
        return [a.view_as(p) if u > 0 else None for a, p, u in zip(averaged, like, used, strict=True)]


def build_reduction() -> Reduction:
    """The collectives for as many processes as there are."""
    return AllRanks() if comm.get_world_size() > 1 else Reduction()


def broadcast_model(model: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first one."""
    if comm.get_world_size() > 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), src=0)
