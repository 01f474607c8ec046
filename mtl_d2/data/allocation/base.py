"""What all allocations have in common: the order in which mini-batches are used, and where a run resumes.

The stream of mini-batches is cut into blocks of n. A block is gone through u times, one mini-batch an update: n u
updates a block, and n updates between two uses of the same mini-batch. Everything follows from the number of updates
made, so a checkpoint needs no images: a resumed run reads the block in flight again.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from mtl_d2.balancing.interfaces import Setup
from mtl_d2.balancing.registry import MethodRegistry
from mtl_d2.options import Options, whole
from mtl_d2.tasks.sources import NOT_DRAWN

ALLOCATIONS = MethodRegistry("ALLOCATIONS")

Batch = list[dict[str, Any]]

_DRAWS = 0x57A  # keeps these draws apart from the mapper's, which have the same seed and position


class Allocation:
    """Turns the mini-batches that the loader gives into those that the updates see.

    Attributes:
        options: its config keys, in lower case.
        block: n, mini-batches of a block.
        uses: u, how often each of them is used; the same on every process and for every mini-batch.
    """

    options: ClassVar[Options] = {}
    block: int = 1
    uses: int = 1

    def __init__(self, setup: Setup, batch_size: int, seed: int = 0, **options: Any) -> None:
        """Starts at the beginning of the stream.

        Args:
            setup: names the T tasks.
            batch_size: samples of a global mini-batch.
            seed: not negative, the same on every process.
            options: those of the class, with the values of the config.
        """
        self.tasks = setup.tasks
        self.batch_size = batch_size
        self.seed = seed
        self._block_start = 0  # samples of the global stream before the block in flight
        self._updates = 0  # made in that block

    @classmethod
    def check(cls, values: Mapping[str, Any], setup: Setup) -> list[str]:
        """One sentence for every rule between the ``options`` that ``values`` break, which may be out of range."""
        return []

    def draw(self, available: Sequence[str], position: int, use: int) -> tuple[str, ...]:
        """The tasks that supervise the sample at ``position`` in a use of its mini-batch, some of ``available``.

        Args:
            available: names of the tasks that the sample has labels for.
            position: of the sample in the global stream.
            use: in [0, u).
        """
        raise NotImplementedError

    def shuffled(self, tasks: Sequence[str], position: int, use: int = 0) -> tuple[str, ...]:
        """``tasks`` in a uniformly random order, which depends on the seed and these arguments alone."""
        key = np.random.SeedSequence(self.seed, spawn_key=(_DRAWS, position, use))
        return tuple(tasks[i] for i in np.random.default_rng(key).permutation(len(tasks)))

    def allocate(self, samples: Batch, use: int) -> Batch:
        """Copies of the ``samples`` that a task supervises in this use, with those tasks under ``tasks``.

        Tasks under ``NOT_DRAWN`` supervise their sample in every use.

        Args:
            samples: with ``tasks`` (those they have labels for) and ``position``; left as they are.
            use: of their mini-batch, in [0, u).
        """
        drawn = [(sample, self._supervising(sample, use)) for sample in samples]
        return [
            {**sample, "tasks": tuple(t for t in sample["tasks"] if t in chosen)} for sample, chosen in drawn if chosen
        ]

    def _supervising(self, sample: dict[str, Any], use: int) -> tuple[str, ...]:
        always = sample.get(NOT_DRAWN, ())
        among = tuple(task for task in sample["tasks"] if task not in always)
        return (*always, *self.draw(among, sample["position"], use))

    @property
    def start(self) -> int:
        """The sample of the global stream that the batches for ``__call__`` begin with."""
        return self._block_start + self._first_needed() * self.batch_size

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """One batch an update, as long as ``batches`` last; each is counted when it is given out.

        A batch may be empty: on this process, or on all, no sample has a task left.

        Args:
            batches: this process's share of the mini-batches, from sample ``start`` of the global stream on.
        """
        source = iter(batches)
        held: deque[Batch] = deque()  # ends with the mini-batch before the ``read``-th of the block
        read = self._first_needed()
        while True:
            use, place = divmod(self._updates, self.block)
            while read <= place:
                samples = next(source, None)
                if samples is None:
                    return
                held.append([_in_its_own_memory(s) for s in samples] if self.block > 1 else samples)
                read += 1
            samples = held.popleft() if use == self.uses - 1 else held[place]
            self._updates += 1
            if self._updates == self.block * self.uses:
                self._block_start += self.block * self.batch_size
                self._updates = read = 0
            yield self.allocate(samples, use)

    def _first_needed(self) -> int:
        """The first mini-batch of the block that an update from now on uses; those of the last use are let go."""
        use, place = divmod(self._updates, self.block)
        return place if use == self.uses - 1 else 0

    def state_dict(self) -> dict[str, int]:
        """Where in the stream, and where in the block in flight, the next update stands."""
        return {
            "block_start": self._block_start,
            "updates": self._updates,
            "block": self.block,
            "uses": self.uses,
            "batch_size": self.batch_size,
        }

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Continues where ``state_dict`` was taken; the batches have to be made anew from ``start`` on.

        Raises:
            ValueError: it was taken within a block, which this allocation would go through in another way.
        """
        same = all(state_dict[key] == value for key, value in self.state_dict().items() if key in _SHAPE)
        if state_dict["updates"] and not same:
            shape = ", ".join(f"{key} {state_dict[key]}" for key in _SHAPE)
            raise ValueError(
                f"MTL.ALLOCATION cannot change while mini-batches are in flight: the checkpoint was made "
                f"{state_dict['updates']} updates into a block of {shape}; resume with the allocation it was made "
                f"with, or from a checkpoint after a multiple of {state_dict['block'] * state_dict['uses']} updates"
            )
        self._block_start = state_dict["block_start"]
        self._updates = state_dict["updates"]


def _in_its_own_memory(sample: dict[str, Any]) -> dict[str, Any]:
    """A copy to be held for long: a tensor from a worker keeps a file open, and a view the whole that it is of."""
    return {
        key: value.clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value) for key, value in sample.items()
    }


_SHAPE = ("block", "uses", "batch_size")
SUBSET_SIZE = whole(1, "tasks for each sample in an update (the size of the paper's tau), at most those there are")


def check_subset_size(k: int, setup: Setup) -> list[str]:
    """A sentence if there are fewer than ``k`` tasks."""
    if k <= max(setup.num_tasks, 1):
        return []
    return [f"K must be an integer from 1 to the number of tasks, {setup.num_tasks}; got {k}"]
