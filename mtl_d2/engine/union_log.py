"""What a training has seen: epochs of each data set, and each pair of tasks in updates and in samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from mtl_d2.data.sampler import RankBatches
from mtl_d2.report.scalar_names import EPOCHS, IN_SAMPLES, IN_UPDATES

logger = logging.getLogger(__name__)


class UnionLog(HookBase):
    """Logs them in each update, and all of them when the training is over.

    Everything is on the host: what tasks there are in an update, all processes tell each other anyway.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Args: ``names`` of the training sets, in the order of the loader's."""
        self.names = tuple(names)
        self._updates = self._samples = 0
        self._together: dict[str, list[int]] = {}  # by pair of tasks: updates, samples

    def after_step(self) -> None:
        """Counts the update."""
        batch = self.trainer._trainer.oracle.batch
        pairs = list(combinations(range(len(batch.names)), 2))
        self._updates += 1
        self._samples += batch.length
        present = batch.present.tolist()
        for (i, j), samples in zip(pairs, batch.pairs, strict=True):
            counts = self._together.setdefault(f"{batch.names[i]}+{batch.names[j]}", [0, 0])
            counts[0] += present[i] and present[j]
            counts[1] += samples
        self.trainer.storage.put_scalars(smoothing_hint=False, **self.shares(), **self.epochs())

    def shares(self) -> dict[str, float]:
        """By pair of tasks, the share of updates that have both, and that of samples."""
        values = {}
        for pair, (updates, samples) in self._together.items():
            values[IN_UPDATES + pair] = updates / max(self._updates, 1)
            values[IN_SAMPLES + pair] = samples / max(self._samples, 1)
        return values

    def epochs(self) -> dict[str, float]:
        """By data set, how often it was gone through; nothing with a loader of another kind."""
        loop = self.trainer._trainer
        sampler = getattr(loop.loader, "batch_sampler", None)
        if not isinstance(sampler, RankBatches):
            return {}
        values: dict[str, float] = {}
        for name, epochs in zip(self.names, sampler.order.epochs(loop.allocation.start), strict=True):
            values[EPOCHS + name] = values.get(EPOCHS + name, 0.0) + epochs
        return values

    def after_train(self) -> None:
        """The table, on the first process."""
        if not comm.is_main_process() or not self._updates:
            return
        for name, value in self.epochs().items():
            logger.info("%s: %.4g epochs seen", name.removeprefix(EPOCHS), value)
        shares = self.shares()
        for pair in self._together:
            updates, samples = shares[IN_UPDATES + pair], shares[IN_SAMPLES + pair]
            logger.info("%s: together in %.1f %% of updates, %.1f %% of samples", pair, 100 * updates, 100 * samples)

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        together = {pair: list(counts) for pair, counts in self._together.items()}
        return {"updates": self._updates, "samples": self._samples, "together": together}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from them."""
        self._updates, self._samples = state_dict["updates"], state_dict["samples"]
        self._together = {pair: list(counts) for pair, counts in state_dict["together"].items()}
