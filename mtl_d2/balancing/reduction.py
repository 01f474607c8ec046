"""What has to be summed over processes for one update; here for a single process, where nothing has."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


class Reduction:
    """Collectives of one update. Every process calls the same ones in the same order.

    This one is for a single process; ``mtl_d2.engine.reduce`` has the one for many.
    """

    world_size: int = 1
    rank: int = 0  # of this process

    def count(self, value: Tensor) -> Tensor:
        """``value`` summed over processes and divided by their number.

        A loss summed over a process's own samples and divided by this has, averaged over processes, the value and the
        gradient that one process with all the samples would have.
        """
        return self.total(value) / self.world_size

    def total(self, value: Tensor) -> Tensor:
        """``value`` summed over processes."""
        return value

    def average(self, value: Tensor) -> Tensor:
        """``value`` averaged over processes."""
        return value

    def average_gradients(self, gradients: list[Tensor | None], like: Iterable[Tensor]) -> list[Tensor | None]:
        """Gradients averaged over processes; one that is None in every process stays None.

        Args:
            gradients: one for each tensor of ``like``, or None where this process has none.
            like: the parameters, which give shape, dtype and device of a missing gradient.
        """
        return gradients
