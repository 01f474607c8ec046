"""Records that hold their image: nothing is read, decoded, augmented or sent between processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.data.samplers import InferenceSampler
from torch.utils.data import DataLoader, Dataset

from mtl_d2.data.errors import DataError
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
    """Samples by (position, index), a batch at a time: the record at ``index`` with ``tasks`` and ``position``."""

    def __init__(self, records: Records, tasks: Sequence[str]) -> None:
        """Args: ``records`` that hold their image, all of one size; ``tasks`` of the config."""
        self._records = records
        self._kinds = kinds_of(tasks)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """The samples of a batch; their images are views of one tensor of their own."""
        records = [self._records[index] for _, index in places]
        images = torch.stack([record["image"] for record in records]).unbind(0)
        return [
            {
                **record,
                "image": image,
                **supervision(record, self._kinds),
                "position": position,
            }
            for record, image, (position, _) in zip(records, images, places, strict=True)
        ]


def memory_test_loader(records: Records) -> DataLoader:
    """Batches of this process's share of a test set, each record once and as it is, labels included."""
    return DataLoader(
        list(records),  # type: ignore[arg-type]  # a list is a map-style data set
        batch_size=TEST_BATCH,
        sampler=InferenceSampler(len(records)),
        collate_fn=list,
        generator=torch.Generator().manual_seed(0),
    )
