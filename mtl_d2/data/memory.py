"""Records that hold their image: nothing is read, decoded, augmented or sent between processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from detectron2.data.samplers import InferenceSampler
from torch.utils.data import DataLoader, Dataset

from mtl_d2.data.errors import DataError
from mtl_d2.data.sampler import RankBatches
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import supervision

TEST_BATCH = 256  # images

Records = Sequence[dict[str, Any]]


def in_memory(records: Records) -> bool:
    """Whether the records hold their images.

    Raises:
        DataError: some do, and some name files.
    """
    holding = sum("image" in record for record in records)
    if holding not in (0, len(records)):
        raise DataError(
            f"{holding} of {len(records)} records hold their image, the others name a file: do not mix such data sets "
            "in DATASETS.TRAIN"
        )
    return holding > 0


class MemorySamples(Dataset):
    """Samples by (position, index): the record at ``index``, with its own image, ``tasks`` and ``position``."""

    def __init__(self, records: Records, tasks: Sequence[str]) -> None:
        """Args: ``records`` that hold their image, all of one size; ``tasks`` of the config."""
        kinds = kinds_of(tasks)
        self._samples = [{**record, **supervision(record, kinds)} for record in records]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        position, index = place
        return {**self._samples[index], "position": position}


class MemoryLoader:
    """Batches of them; a ``DataLoader`` without workers does no more, and takes as long as a small network's head."""

    def __init__(self, dataset: MemorySamples, batch_sampler: RankBatches) -> None:
        """Args: named as a ``DataLoader``'s."""
        self.dataset, self.batch_sampler = dataset, batch_sampler

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """From the first batch on."""
        for places in self.batch_sampler:
            yield [self.dataset[place] for place in places]


def memory_test_loader(records: Records) -> DataLoader:
    """Batches of this process's share of a test set, each record once and as it is, labels included."""
    return DataLoader(
        list(records),  # type: ignore[arg-type]  # a list is a map-style data set
        batch_size=TEST_BATCH,
        sampler=InferenceSampler(len(records)),
        collate_fn=list,
        generator=torch.Generator().manual_seed(0),
    )
