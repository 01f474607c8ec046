"""What updates are made of: the sampler and the allocation of a run draw, and no picture is read."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations_with_replacement
from typing import Any

from detectron2.config import CfgNode

from mtl_d2.data.allocation import Allocation
from mtl_d2.data.sampler import Order
from mtl_d2.tasks.base import Record, TaskKind
from mtl_d2.tasks.sources import NOT_DRAWN, PSEUDO, has_pseudo_labels, unprefixed

Records = Sequence[Record]
Pair = tuple[str, str]


@dataclass
class Draws:
    """What was drawn.

    Attributes:
        updates: how many.
        together: updates in which both tasks of a pair supervise a sample; a task with itself: in which it does.
        samples: how many samples each task supervised.
        alone: updates without any task.
        drawn: by data set, samples of mini-batches.
        places: by data set, the first position at which each of its records is drawn, and the record's number in the
            concatenation of the sets; in the order of the positions.
    """

    updates: int = 0
    together: Counter[Pair] = field(default_factory=Counter)
    samples: Counter[str] = field(default_factory=Counter)
    alone: int = 0
    drawn: Counter[int] = field(default_factory=Counter)
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def share(self, one: str, other: str) -> float:
        """Of updates that have both tasks, in [0, 1]."""
        return max(self.together[one, other], self.together[other, one]) / max(self.updates, 1)


def draw_updates(cfg: CfgNode, sets: Sequence[Records], order: Order, allocation: Allocation, kinds: Sequence[TaskKind],
                 updates: int) -> Draws:  # fmt: skip
    """Draws what the first ``updates`` of a training are made of.

    What augmentation may leave nothing of is not known here: a record's labels are taken to be its sample's.

    Args:
        cfg: ``SOLVER.IMS_PER_BATCH`` and ``MTL.PSEUDO_LABELS.ALLOCATE``.
        sets: records of each training set.
        order: of the positions.
        allocation: at the beginning of the stream.
        kinds: of the tasks.
        updates: how many, fewer where the training is shorter.
    """
    draws = Draws()
    stream = _Stream(cfg, sets, order, kinds, draws)
    batches = allocation(stream.batches())
    for _ in range(min(updates, cfg.SOLVER.MAX_ITER)):
        samples = next(batches)
        supervised: Counter[str] = Counter(task for sample in samples for task in sample["tasks"])
        draws.updates += 1
        draws.samples += supervised
        draws.alone += not supervised
        tasks = [kind.task for kind in kinds if supervised[kind.task]]
        draws.together.update(combinations_with_replacement(tasks, 2))
    return draws


class _Stream:
    """Samples that hold what allocations ask of them, and no label."""

    def __init__(
        self, cfg: CfgNode, sets: Sequence[Records], order: Order, kinds: Sequence[TaskKind], draws: Draws
    ) -> None:
        self.batch_size, self.draw_all = cfg.SOLVER.IMS_PER_BATCH, cfg.MTL.PSEUDO_LABELS.ALLOCATE
        self.sets, self.order, self.kinds, self.draws = sets, order, kinds, draws
        self.first = [0, *accumulate(map(len, sets))]
        self.known: dict[int, dict[str, Any]] = {}

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        position = 0
        while True:
            yield [self._sample(p) for p in range(position, position + self.batch_size)]
            position += self.batch_size

    def _sample(self, position: int) -> dict[str, Any]:
        index = self.order.index(position)
        of_set = bisect_right(self.first, index) - 1
        self.draws.drawn[of_set] += 1
        if index not in self.known:
            self.known[index] = tasks_of(self.sets[of_set][index - self.first[of_set]], self.kinds, self.draw_all)
            self.draws.places.setdefault(of_set, []).append((position, index))
        return {**self.known[index], "position": position}


def tasks_of(record: Record, kinds: Sequence[TaskKind], draw_all: bool = True) -> dict[str, tuple[str, ...]]:
    """What ``mtl_d2.tasks.sources.supervision`` says of the sample of a record, of which nothing is read.

    Args:
        record: with its labels, of both sources.
        kinds: of the tasks.
        draw_all: ``MTL.PSEUDO_LABELS.ALLOCATE``.
    """
    taught = unprefixed(record, PSEUDO) if has_pseudo_labels(record) else {}
    true = [kind.task for kind in kinds if kind.is_in_record(record)]
    both = tuple(kind.task for kind in kinds if kind.task in true or kind.is_in_record(taught))
    fixed = () if draw_all else tuple(task for task in both if task not in true)
    return {"tasks": both, NOT_DRAWN: fixed} if fixed else {"tasks": both}
