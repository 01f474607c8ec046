"""Sums over processes for one update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn

from mtl_d2.balancing.reduction import Exchange, Reduction
from mtl_d2.config import ConfigError
from mtl_d2.engine.exchange import DividedRows, WholeRows
from mtl_d2.engine.wire import SCATTERS, Wire


class AllRanks(Reduction):
    """Collectives over all processes of the default group."""

    def __init__(self, communication: str = "auto") -> None:
        """Takes the group that is initialized now.

        Args:
            communication: ``MTL.COMMUNICATION``; "auto" divides rows where the backend has a reduce-scatter of its own.

        Raises:
            ConfigError: the backend cannot do what is asked for.
        """
        self.wire = Wire()
        self.world_size, self.rank = self.wire.size, self.wire.rank
        if communication == "reduce_scatter" and not self.wire.can_scatter:
            raise ConfigError(
                f"MTL.COMMUNICATION 'reduce_scatter' needs a backend with a reduce-scatter at half the price of an "
                f"all-reduce ({', '.join(SCATTERS)}), got {dist.get_backend()!r}; set it to 'auto'"
            )
        self._divides = {
            "all_reduce": False,
            "reduce_scatter": True,
            "auto": self.wire.scatters_itself,
        }[communication]

    def total(self, value: Tensor) -> Tensor:
        """``value`` summed over processes."""
        return self.wire.all_reduce(value.clone())()

    def average(self, value: Tensor) -> Tensor:
        """``value`` averaged over processes."""
        return self.total(value) / self.world_size

    def start_average(self, value: Tensor) -> Callable[[], Tensor]:
        """See ``Reduction``."""
        arrival = self.wire.all_reduce(value)
        return lambda: arrival() / self.world_size

    def everybodys(self, numbers: Sequence[int]) -> list[list[int]]:
        """See ``Reduction``."""
        return self.wire.everybodys(numbers)

    def exchange(self, parts: bool = False) -> Exchange:
        """See ``Reduction``."""
        return DividedRows(self.wire) if parts and self._divides else WholeRows(self.wire)


def build_reduction(communication: str = "auto") -> Reduction:
    """The collectives for as many processes as there are; see ``MTL.COMMUNICATION``."""
    return AllRanks(communication) if comm.get_world_size() > 1 else Reduction()


def broadcast_model(model: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first one."""
    if comm.get_world_size() > 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), src=0)
