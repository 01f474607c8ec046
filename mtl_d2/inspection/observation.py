"""What is kept of each sample: a few numbers, made where the sample is made, in a process of the loader or here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.config import CfgNode
from torch.utils.data import Dataset

from mtl_d2.data import DataError
from mtl_d2.inspection.data_sets import DataSet, SampleMaker
from mtl_d2.inspection.draws import tasks_of
from mtl_d2.inspection.labels import Inspector, inspector
from mtl_d2.inspection.suspicions.agreement import Shares, shares_in_boxes
from mtl_d2.inspection.suspicions.lookalikes import thumbnail
from mtl_d2.report.pictures import as_rgb, metadata_of
from mtl_d2.tasks.base import Record, Sample, TaskKind, first_of_each
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import PSEUDO, labels_of
from mtl_d2.tasks.task import LabelSource

SOURCES = ("", PSEUDO)  # prefixes of labels


@dataclass
class Observation:
    """What is kept of a sample.

    Attributes:
        file: of the image.
        stored: height and width of the image in its file.
        shown: as trained on.
        thumbnail: of the stored image, where it is a file and shows something.
        contrast: standard deviation of its levels.
        tasks: that it is labelled for.
        lost: that its record is labelled for, and it is not.
        labels: what inspectors kept, by prefix of the source and task.
        agreement: see ``shares_in_boxes``.
        taught: by task that has labels of both sources, how much of the pseudo label is true, and of how much.
    """

    file: str
    stored: tuple[int, int]
    shown: tuple[int, int]
    contrast: float
    tasks: tuple[str, ...]
    lost: tuple[str, ...]
    labels: dict[tuple[str, str], Any] = field(default_factory=dict)
    thumbnail: npt.NDArray[np.uint8] | None = None
    agreement: Mapping[tuple[str, str], Shares] = field(default_factory=dict)
    taught: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A sample that cannot be made.

    Attributes:
        file: of its image.
        reason: a line.
    """

    file: str
    reason: str


class Observer(Dataset):
    """Observations of the samples of a data set, by their number in its ``places``."""

    def __init__(self, cfg: CfgNode, data_set: DataSet) -> None:
        self.cfg, self.data_set = cfg, data_set
        self.kinds = kinds_of(cfg.MTL.TASKS)
        self.make = SampleMaker(cfg, data_set.is_trained_on)
        self.in_memory = any("image" in record for record in data_set.records[:1])
        self.inspectors: dict[str, Inspector] = {kind.task: inspector(kind, cfg) for kind in first_of_each(self.kinds)}

    def __len__(self) -> int:
        return len(self.data_set.places)

    def metadata_of(self, kind: TaskKind) -> Any:
        """With the names of a task's classes: of another data set where this one has pseudo labels alone."""
        return metadata_of(kind, (self.data_set.name, *self.cfg.DATASETS.TRAIN, *self.cfg.DATASETS.TEST))

    def record(self, number: int) -> Record:
        """Of a sample."""
        return self.data_set.records[self.data_set.places[number][1]]

    def sample(self, number: int) -> Sample:
        """As it is trained on.

        Raises:
            DataError: it cannot be made.
        """
        return self.make(self.record(number), self.data_set.places[number][0])

    def __getitem__(self, number: int) -> Observation | Failure:
        record = self.record(number)
        try:
            return self._observe(self.sample(number), record)
        except DataError as error:
            reason = " ".join(str(error).split())
        except Exception as error:  # noqa: BLE001  # whatever it is, it would end the training there
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Failure(str(record["file_name"]), reason)

    def rgb(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """(H, W, 3) of a sample; what was read from a file has its channels in the order of ``INPUT.FORMAT``."""
        image = sample["image"].numpy()
        if len(image) not in (1, 3):  # channels that are no colours
            image = image.mean(0, keepdims=True).astype(np.uint8)
        turned = self.cfg.INPUT.FORMAT == "BGR" and not self.in_memory
        return np.ascontiguousarray(as_rgb(image)[..., ::-1] if turned else as_rgb(image))

    def _observe(self, sample: Sample, record: Record) -> Observation:
        image = self.rgb(sample)
        shown = image.shape[0], image.shape[1]
        stored = int(sample.get("height") or shown[0]), int(sample.get("width") or shown[1])
        lost = tuple(task for task in tasks_of(record, self.kinds)["tasks"] if task not in sample["tasks"])
        kept = Observation(str(record["file_name"]), stored, shown, float(image.std()), sample["tasks"], lost)
        for prefix, kind, labels in labels_in(sample, list(self.inspectors), self.kinds):
            kept.labels[prefix, kind.task] = self.inspectors[kind.task].observe(labels, image)
        for task in [task for prefix, task in kept.labels if prefix and ("", task) in kept.labels]:
            kept.taught[task] = self.inspectors[task].agreement(sample, labels_of(sample, LabelSource(PSEUDO)))
        kept.thumbnail = None if self.in_memory else thumbnail(kept.file, stored)
        kept.agreement = shares_in_boxes(sample, first_of_each(self.kinds), self.data_set.name)
        return kept


def labels_in(sample: Sample, tasks: Sequence[str], kinds: Sequence[TaskKind]) -> list[tuple[str, TaskKind, Sample]]:
    """The labels that a sample has of some tasks: prefix of the source, task, and the sample with them in place."""
    found = []
    for prefix in SOURCES:
        labels = labels_of(sample, LabelSource(prefix))
        found += [(prefix, kind, labels) for kind in kinds if kind.task in tasks and kind.sample_key in labels]
    return found
