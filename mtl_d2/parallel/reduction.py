"""What has to be summed over processes for one update; here for a single process, where nothing has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

Gradients = list[Tensor | None]  # one for each of a list of parameters, None where there is no gradient


class Exchange:
    """Gradients of one pass on their way to their averages over processes. A single process keeps its own.

    Rows may come back in parts: of each parameter the elements that this process has charge of, as a flat tensor, or
    None where it has none. ``total`` and ``gather`` then make wholes of what was made of parts.
    """

    def __init__(self) -> None:
        """Nothing is under way."""
        self._sent: list[Gradients] = []

    def send(self, gradients: Gradients, like: Sequence[Tensor]) -> None:
        """Starts averaging; returns at once.

        Args:
            gradients: one for each tensor of ``like``, or None where this process has none.
            like: the parameters, which give shape, dtype and device of a missing gradient.
        """
        self._sent.append(gradients)

    def send_row(self, row: Gradients, like: Sequence[Tensor]) -> None:
        """The same for a task's gradient of the shared parameters ``like``, the same ones for every row."""
        self.send(row, like)

    def receive(self) -> list[Gradients]:
        """What was sent, averaged, in that order; a gradient that is None in every process stays None."""
        sent, self._sent = self._sent, []
        return sent

    def total(self, value: Tensor) -> Tensor:
        """``value``, a sum over the elements of the rows that this process holds, over all elements."""
        return value

    def gather(self, direction: Gradients) -> Gradients:
        """The whole of a combination of the rows."""
        return direction


class Reduction:
    """Collectives of one update. Every process calls the same ones in the same order.

    This one is for a single process; ``mtl_d2.parallel.all_ranks`` has the one for many.
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

    def start_average(self, value: Tensor) -> Callable[[], Tensor]:
        """Starts averaging ``value``, which is not to be used any more; what is returned waits for the average."""
        return lambda: value

    def numbers_of_all(self, numbers: Sequence[int]) -> list[list[int]]:
        """The ``numbers`` of each process, as many of each; it knows nothing of the accelerator and waits for none."""
        return [list(numbers)]

    def exchange(self, parts: bool = False) -> Exchange:
        """For the gradients of one pass.

        Args:
            parts: whether rows may come back in parts.
        """
        return Exchange()

    def average_gradients(self, gradients: Gradients, like: Iterable[Tensor]) -> Gradients:
        """Gradients averaged over processes; see ``Exchange.send``."""
        exchange = self.exchange()
        exchange.send(gradients, list(like))
        return exchange.receive()[0]
