"""How the gradients of one pass travel between processes: each row as a whole, or every process a part of it.

P shared parameters in all rows, T rows, N processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from mtl_d2.parallel.collectives import Arrival, Collectives
from mtl_d2.parallel.reduction import Exchange, Gradients


@dataclass
class _Sent:
    """Gradients under way.

    Attributes:
        used: for each gradient whether this process has one.
        like: the parameters.
        arrival: waits for their sum over processes, flat, or for this process's part of it.
        divided: whether it is a part.
    """

    used: list[bool]
    like: Sequence[Tensor]
    arrival: Arrival
    divided: bool = False


class WholeRows(Exchange):
    """One flat all-reduce for every ``send``. Overlaps with whatever is computed until ``receive``."""

    def __init__(self, collectives: Collectives) -> None:
        """Args: ``collectives`` carry them."""
        self.collectives = collectives
        self._under_way: list[_Sent] = []

    def send(self, gradients: Gradients, like: Sequence[Tensor]) -> None:
        """See ``Exchange``."""
        if like:
            self._put(gradients, like, self.collectives.all_reduce(torch.cat(_parts(gradients, like))))
        else:
            self._put(gradients, like, lambda: torch.empty(0))

    def _put(self, gradients: Gradients, like: Sequence[Tensor], arrival: Arrival, divided: bool = False) -> None:
        self._under_way.append(_Sent([g is not None for g in gradients], like, arrival, divided))

    def receive(self) -> list[Gradients]:
        """See ``Exchange``. What processes have is exchanged once, on the host, for everything that was sent."""
        sent, self._under_way = self._under_way, []
        used = iter(self.collectives.largest([int(u) for row in sent for u in row.used]))
        return [self._unpack(row, [bool(next(used)) for _ in row.like]) for row in sent]

    def _unpack(self, sent: _Sent, used: list[bool]) -> Gradients:
        flat = sent.arrival().div_(self.collectives.size)
        return _shaped(flat, sent.like, used)


class DividedRows(WholeRows):
    """Each process gets 1/N of the elements of every row, averaged, by a reduce-scatter.

    Rows are laid out flat in the order of the parameters; process r has charge of the r-th of N equal stretches, the
    last of which ends in zeros. The direction made of them is gathered.
    """

    def __init__(self, collectives: Collectives) -> None:
        """Args: ``collectives`` carry them."""
        super().__init__(collectives)
        self._like: Sequence[Tensor] = ()
        self._used: list[bool] = []  # for each parameter, whether some row has it
        self._part = torch.empty(0)  # one part, for length, dtype and device

    def send_row(self, row: Gradients, like: Sequence[Tensor]) -> None:
        """See ``Exchange``."""
        if not like:
            self.send(row, like)
            return
        parts = _parts(row, like)
        missing = -sum(part.numel() for part in parts) % self.collectives.size
        flat = torch.cat([*parts, parts[0].new_zeros(missing)])
        self._put(row, like, self.collectives.reduce_scatter(flat), divided=True)

    def _unpack(self, sent: _Sent, used: list[bool]) -> Gradients:
        if not sent.divided:
            return super()._unpack(sent, used)
        self._part = sent.arrival().div_(self.collectives.size)
        before = self._used or [False] * len(used)
        self._like, self._used = sent.like, [a or b for a, b in zip(before, used, strict=True)]
        parts = [self._part[a:b] if b > a else None for a, b in self._stretches()]
        return [g if u else None for g, u in zip(parts, used, strict=True)]

    def _stretches(self) -> list[tuple[int, int]]:
        """For each parameter the stretch [a, b) of this process's part that it lies in; empty if b <= a."""
        length = self._part.numel()
        start = self.collectives.rank * length
        ends = list(accumulate(p.numel() for p in self._like))
        return [
            (max(end - p.numel() - start, 0), min(end - start, length)) for p, end in zip(self._like, ends, strict=True)
        ]

    def total(self, value: Tensor) -> Tensor:
        """See ``Exchange``."""
        return self.collectives.all_reduce(value.clone())()

    def gather(self, direction: Gradients) -> Gradients:
        """See ``Exchange``. A parameter that no row has stays None."""
        if not self._like:
            return direction
        part = torch.zeros_like(self._part)
        for gradient, (a, b) in zip(direction, self._stretches(), strict=True):
            if gradient is not None:
                part[a:b] = gradient
        return _shaped(self.collectives.all_gather(part), self._like, self._used)


def _parts(gradients: Gradients, like: Sequence[Tensor]) -> list[Tensor]:
    """Flat gradients, zeros where there is none."""
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
    return [part.detach().reshape(-1) for part in parts]


def _shaped(flat: Tensor, like: Sequence[Tensor], used: Sequence[bool]) -> Gradients:
    """Flat gradients, and what follows them, as gradients of parameters; None for those that no process uses."""
    sizes = [p.numel() for p in like]
    parts = flat[: sum(sizes)].split(sizes)
    return [g.view_as(p).to(p.dtype) if u else None for g, p, u in zip(parts, like, used, strict=True)]
