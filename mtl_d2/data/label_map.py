"""Maps of class ids: where records, metadata and samples have them, and reading one with its image's geometry."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch

from mtl_d2.data.annotated_classes import OTHER_CLASS, annotated_key, annotated_mask
from mtl_d2.data.dense_geometry import transform_ids
from mtl_d2.data.errors import DataError
from mtl_d2.data.geometry import Geometry
from mtl_d2.data.images import read_label_map
from mtl_d2.data.opencv_images import read_with_opencv


@dataclass(frozen=True)
class LabelMapKeys:
    """Where what belongs to a label map is found.

    Attributes:
        file: of a record: the file of the map.
        table: of a record: 256 bytes, the class of each stored value; absent = the file holds class ids.
        ignored: of a record, or of metadata: the id of pixels without a label in the file.
        classes: of metadata: the names of the classes.
        annotated: of a record, the state of each class, and of a sample; see ``mtl_d2.data.annotated_classes``.
        other: of a record, and of a sample: the class of pixels that may hide those that are not annotated.
        convention: of metadata: how their mean is taken, see ``mtl_d2.evaluation.semantic_scores``.
        sample: of a sample, and of a model's output: the map.
    """

    file: str = "sem_seg_file_name"
    table: str = "sem_seg_table"
    ignored: str = "ignore_label"
    classes: str = "stuff_classes"
    convention: str = "semantic_convention"
    sample: str = "sem_seg"
    annotated: str = annotated_key("stuff_classes")
    other: str = OTHER_CLASS

    @property
    def group(self) -> str:
        """Of metrics."""
        return self.sample.replace("/", "_")

    @property
    def file_stem(self) -> str:
        """How the names of files that are written for the task begin."""
        return self.group.replace("sem_seg", "semantic")

    def named(self, own_name: str) -> LabelMapKeys:
        """Those of the task ``semantic/<own_name>``; of the task ``semantic``, if the name is empty."""
        return LabelMapKeys(*(f"{key}/{own_name}" for key in astuple(self))) if own_name else self


@dataclass(frozen=True)
class LabelMapReader:
    """Reads the label map that a record names into a tensor (H, W) int64.

    Attributes:
        keys: where the map is.
        number_of_classes: of the head; ids are below it.
        ignored: the id of pixels without a label in the sample.
        option: the config key of that number.
    """

    keys: LabelMapKeys
    number_of_classes: int
    ignored: int
    option: str

    def __call__(self, record: dict[str, Any], geometry: Geometry) -> dict[str, Any]:
        """See ``mtl_d2.tasks.base.Reader``; a crop of ignored pixels only has no label to learn from."""
        path, stored = record[self.keys.file], record.get(self.keys.ignored, self.ignored)
        table = record.get(self.keys.table)
        labels = read_label_map(path, self.number_of_classes, stored, table, self.option, read_with_opencv)
        if labels.shape != geometry.before:
            raise DataError(f"{path}: size {labels.shape} (height, width), but its image has {geometry.before}")
        if self.keys.ignored in record:
            labels = np.where(labels == stored, np.uint8(self.ignored), labels)
        labels = transform_ids(labels, geometry.transforms, self.ignored)
        if labels.size == 0 or labels.min() == labels.max() == self.ignored:
            return {}
        return {self.keys.sample: torch.as_tensor(labels.astype(np.int64)), **self._partial(record)}

    def _partial(self, record: dict[str, Any]) -> dict[str, Any]:
        """What a sample has beside its map where not all classes are annotated."""
        if self.keys.annotated not in record:
            return {}
        said = {self.keys.annotated: annotated_mask(record[self.keys.annotated])}
        return {**said, self.keys.other: record[self.keys.other]} if self.keys.other in record else said
