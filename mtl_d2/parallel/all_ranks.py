"""The collectives of an update over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.distributed as dist
from torch import Tensor, nn

from mtl_d2.parallel.collectives import SCATTERS, Collectives
from mtl_d2.parallel.exchange import DividedRows, WholeRows
from mtl_d2.parallel.reduction import Exchange, Reduction


class AllRanks(Reduction):
    """Collectives over all processes of the default group."""

    def __init__(self, communication: str = "auto") -> None:
        """Takes the group that is initialized now.

        Args:
            communication: "all_reduce" for whole rows, "reduce_scatter" for rows in parts, "auto" for the second where
                the backend has a reduce-scatter of its own.

        Raises:
            ValueError: the backend cannot do what is asked for.
        """
        self.collectives = Collectives()
        self.world_size, self.rank = self.collectives.size, self.collectives.rank
        if communication == "reduce_scatter" and not self.collectives.can_scatter:
            raise ValueError(
                f"MTL.COMMUNICATION 'reduce_scatter' needs a backend with a reduce-scatter at half the price of an "
                f"all-reduce ({', '.join(SCATTERS)}), got {dist.get_backend()!r}; set it to 'auto'"
            )
        self._divides = {
            "all_reduce": False,
            "reduce_scatter": True,
            "auto": self.collectives.scatters_itself,
        }[communication]

    def total(self, value: Tensor) -> Tensor:
        """``value`` summed over processes."""
        return self.collectives.all_reduce(value.clone())()

    def average(self, value: Tensor) -> Tensor:
        """``value`` averaged over processes."""
        return self.total(value) / self.world_size

    def start_average(self, value: Tensor) -> Callable[[], Tensor]:
        """See ``Reduction``."""
        arrival = self.collectives.all_reduce(value)
        return lambda: arrival() / self.world_size

    def numbers_of_all(self, numbers: Sequence[int]) -> list[list[int]]:
        """See ``Reduction``."""
        return self.collectives.numbers_of_all(numbers)

    def exchange(self, parts: bool = False) -> Exchange:
        """See ``Reduction``."""
        return DividedRows(self.collectives) if parts and self._divides else WholeRows(self.collectives)


def make_reduction(communication: str = "auto") -> Reduction:
    """The collectives for as many processes as there are; see ``AllRanks``."""
    return AllRanks(communication) if _processes() > 1 else Reduction()


def broadcast_model(model: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first one."""
    if _processes() > 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), src=0)


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
