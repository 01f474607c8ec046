"""Evaluation of maps of numbers: what each image adds is summed, so that processes exchange sums and no pixel is kept.

Papers' figures are means over all labelled pixels, or means over images of the means in each, which are other numbers;
a data set's metadata says which (``AVERAGES``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from mtl_d2.data.errors import DataError
from mtl_d2.evaluation.semantic import raise_mistakes

Array = npt.NDArray[Any]
Record = dict[str, Any]

logger = logging.getLogger(__name__)


class Scores(Protocol):
    """How a prediction is measured.

    Attributes:
        names: of the metrics.
    """

    names: tuple[str, ...]

    def sums(self, prediction: Array, truth: Array) -> Array:
        """What an image adds.

        Args:
            prediction: (H, W), or (H, W, 3).
            truth: the same; all 0 = no label.

        Returns:
            (K,) float64, the number of pixels that count first.
        """

    def metrics(self, total: Array) -> dict[str, float]:
        """Metrics of the sum over images, which has at least one pixel."""


class PerImage:
    """Means over images of the metrics of each; an image without a pixel that counts is left out."""

    def __init__(self, scores: Scores) -> None:
        """Args: ``scores``, which measure an image."""
        self._scores, self.names = scores, scores.names

    def sums(self, prediction: Array, truth: Array) -> Array:
        """See ``Scores``; the number is of images."""
        sums = self._scores.sums(prediction, truth)
        values = self._scores.metrics(sums).values() if sums[0] else [0.0] * len(self.names)
        return np.array([float(sums[0] > 0), *values])

    def metrics(self, total: Array) -> dict[str, float]:
        """See ``Scores``."""
        return dict(zip(self.names, (total[1:] / total[0]).tolist(), strict=True))


# By what a data set's metadata may say.
AVERAGES: dict[str, Callable[[Scores], Scores]] = {"pixels": lambda scores: scores, "images": PerImage}


@dataclass(frozen=True)
class DenseLabels:
    """Where the labels of a data set and the predictions for them are.

    Attributes:
        name: of the data set.
        records: as its reader gives them.
        record_key: of those that have a label: the file of it, for messages.
        output_key: of a model's output.
        group: of the metrics.
        read: a record's label, (H, W) or (H, W, 3), all 0 = none.
    """

    name: str
    records: list[Record]
    record_key: str
    output_key: str
    group: str
    read: Callable[[Record], Array]


class DenseEvaluator(DatasetEvaluator):
    """Sums what images add. What is wrong with a file or a prediction is collected and raised by :meth:`evaluate`."""

    def __init__(self, labels: DenseLabels, scores: Scores) -> None:
        """Args: ``labels``, of the data set; ``scores``, which measure a prediction."""
        self._labels, self._scores = labels, scores
        self._labelled = {r["file_name"]: r for r in labels.records if labels.record_key in r}
        self._known = {r["file_name"] for r in labels.records}
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._total: Array | None = None
        self._mistakes: list[str] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[Mapping[str, Any]]) -> None:
        """Adds some images.

        Args:
            inputs: each with the ``file_name`` of a record; images without a label are passed over.
            outputs: the prediction for each, (H, W) or (3, H, W), of the size of the label.
        """
        for given, output in zip(inputs, outputs, strict=True):
            record = self._labelled.get(given["file_name"])
            try:
                if record is not None:
                    self._add(record, output.get(self._labels.output_key))
                elif given["file_name"] not in self._known:
                    raise DataError(
                        f"{given['file_name']}: no image of {self._labels.name}; the mapper is to keep file_name"
                    )
            except DataError as error:
                self._mistakes.append(str(error))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """The metrics by group on the first process, None on the others; NaN where no pixel is labelled.

        Raises:
            DataError: on all processes, a line for each label or prediction that could not be measured.
        """
        parts = comm.all_gather((self._total, self._mistakes))
        raise_mistakes(self._labels.name, [mistake for _, mistakes in parts for mistake in mistakes])
        if not comm.is_main_process():
            return None
        total = sum(total for total, _ in parts if total is not None)
        if not np.any(total):
            logger.warning("%s: no pixel with a label of %s was predicted", self._labels.name, self._labels.group)
            return {self._labels.group: dict.fromkeys(self._scores.names, float("nan"))}
        return {self._labels.group: self._scores.metrics(total)}

    def _add(self, record: Record, prediction: torch.Tensor | None) -> None:
        path, truth = record[self._labels.record_key], self._labels.read(record)
        if prediction is None:
            raise DataError(f"{record['file_name']}: the model has predicted no `{self._labels.output_key}` for it")
        values = prediction.detach().cpu().double().numpy()
        values = np.moveaxis(values, 0, -1) if values.ndim == 3 else values  # (3, H, W)
        if values.shape != truth.shape:
            raise DataError(
                f"{path}: size {truth.shape[:2]} (height, width), but the prediction for its image "
                f"{record['file_name']} has {values.shape}: `height` and `width` of the record are to be its own"
            )
        sums = self._scores.sums(values, truth)
        self._total = sums if self._total is None else self._total + sums
