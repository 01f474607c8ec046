"""Evaluation of semantic segmentation, by the convention of the data set's official tool."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm

from mtl_d2.data.annotated_classes import annotated_key
from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_label_map
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.class_subsets import pixel_subset
from mtl_d2.evaluation.semantic_scores import CONVENTIONS, DEFAULT, confusion_matrix, semantic_scores
from mtl_d2.evaluation.tools import Tool
from mtl_d2.tasks.base import TaskKind

KEYS = LabelMapKeys()
SHOWN = 10  # mistakes that are listed one by one

logger = logging.getLogger(__name__)


def semantic_evaluator(name: str, folder: Path, ignore_label: int = 255, keys: LabelMapKeys = KEYS) -> DatasetEvaluator:
    """Evaluates the images of a test set whose records have a label map.

    Args:
        name: of the test set. Its metadata has ``stuff_classes``, and may have ``ignore_label`` and
            ``semantic_convention``, a key of ``CONVENTIONS``; those of a named task end in its name.
        folder: gets ``semantic_confusion.csv``.
        ignore_label: the id of pixels without a label, where neither record nor metadata says it.
        keys: of the task.

    Raises:
        DataError: the classes have no names, or the convention is unknown.
    """
    records = read_records(name)  # some readers find the classes only now
    metadata = MetadataCatalog.get(name)
    if not metadata.get(keys.classes):
        raise DataError(
            f"data set {name!r} has semantic label maps, but its metadata has no `{keys.classes}`: set it with "
            f"MetadataCatalog.get({name!r}).set(**{{{keys.classes!r}: [...]}})"
        )
    semantic_convention(name, keys)
    return SemanticEvaluator(name, records, metadata.get(keys.ignored, ignore_label), folder, keys)


def semantic_convention(name: str, keys: LabelMapKeys = KEYS) -> str:
    """The key of ``CONVENTIONS`` by which the data set ``name`` is evaluated.

    Raises:
        DataError: its metadata says another.
    """
    convention = MetadataCatalog.get(name).get(keys.convention, DEFAULT)
    if convention not in CONVENTIONS:
        raise DataError(
            f"data set {name!r} has {keys.convention} {convention!r} in its metadata, which is none of "
            f"{', '.join(map(repr, CONVENTIONS))}: register it with one of them, or without"
        )
    return convention


class SemanticEvaluator(DatasetEvaluator):
    """Counts a confusion matrix; processes exchange counts, never pictures.

    What is wrong with a file or a prediction is collected and raised by :meth:`evaluate`, so that it costs neither the
    other evaluators of the test set nor the list of what else is wrong.

    Attributes:
        notes: which classes do not count, a line each.
    """

    def __init__(
        self, name: str, records: list[dict[str, Any]], ignore_label: int, folder: Path, keys: LabelMapKeys = KEYS
    ) -> None:
        """Args as :func:`semantic_evaluator` finds them."""
        self._name, self._ignore_label, self._folder, self._keys = name, ignore_label, folder, keys
        self._classes: list[str] = MetadataCatalog.get(name).get(keys.classes)
        self._labelled = {r["file_name"]: r for r in records if keys.file in r}
        self._known = {r["file_name"] for r in records}
        self._subset = pixel_subset(name, keys.classes)
        lines = self._subset.lines(self._classes) if self._subset is not None else ()
        self.notes = [f"{name}: {line}" for line in lines]
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._confusion = np.zeros((len(self._classes), len(self._classes) + 1), np.int64)
        self._images = 0
        self._mistakes: list[str] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[Mapping[str, Any]]) -> None:
        """Counts the pixels of some images.

        Args:
            inputs: each with the ``file_name`` of a record; images without a label map are passed over.
            outputs: ``sem_seg`` of each is scores (C, H, W) or class ids (H, W), of the size of the label map. Without
                it nothing is predicted, and every labelled pixel is wrong.
        """
        for given, output in zip(inputs, outputs, strict=True):
            record = self._labelled.get(given["file_name"])
            if record is not None:
                self._count(record, output.get(self._keys.sample))
            elif given["file_name"] not in self._known:
                self._mistakes.append(
                    f"{given['file_name']}: no image of {self._name}; the mapper is to keep file_name"
                )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": metrics}`` in percent on the first process, see ``semantic_scores``; None on the others.

        Where no image was predicted at all, the means are 0.

        Raises:
            DataError: on all processes, a line for each label map or prediction that could not be counted.
        """
        parts = comm.all_gather((self._confusion, self._images, self._mistakes))
        raise_mistakes(self._name, [mistake for _, _, mistakes in parts for mistake in mistakes])
        if not comm.is_main_process():
            return None
        confusion = sum(part for part, _, _ in parts)
        images = sum(count for _, count, _ in parts)
        convention = semantic_convention(self._name, self._keys)
        metrics = semantic_scores(confusion, self._classes, convention)
        if not images:
            logger.warning("%s: no image with a label map was predicted", self._name)
            metrics |= dict.fromkeys(("mIoU", "fwIoU", "mACC", "pACC"), 0.0)
        self._write(confusion)
        what = CONVENTIONS[convention].definition
        logger.info("%s: mIoU %.3f of %d images, the %s", self._name, metrics["mIoU"], images, what)
        return {self._keys.group: metrics}

    def _count(self, record: dict[str, Any], prediction: torch.Tensor | None) -> None:
        path, classes = record[self._keys.file], len(self._classes)
        ignored = record.get(self._keys.ignored, self._ignore_label)
        try:
            truth = read_label_map(path, classes, ignored, record.get(self._keys.table))
            predicted = np.full(truth.shape, -1)
            if prediction is not None:
                predicted = class_ids(prediction, classes, record["file_name"])
            if predicted.shape != truth.shape:
                raise DataError(
                    f"{path}: size {truth.shape} (height, width), but the prediction for its image "
                    f"{record['file_name']} has {predicted.shape}: `height` and `width` of the record are to be its own"
                )
        except DataError as error:
            self._mistakes.append(str(error))
            return
        subset = self._subset
        if annotated_key(self._keys.classes) in record:
            subset = pixel_subset(self._name, self._keys.classes, record)
        if subset is not None:
            truth, predicted = subset.counted(truth, predicted, ignored)
        self._confusion += confusion_matrix(truth, predicted, classes, ignored)
        self._images += 1

    def _write(self, confusion: np.ndarray) -> None:
        with open(self._folder / f"{self._keys.file_stem}_confusion.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["pixels of / predicted as", *self._classes, "no class"])
            table.writerows([name, *row] for name, row in zip(self._classes, confusion.tolist(), strict=True))


def raise_mistakes(name: str, mistakes: list[str]) -> None:
    """Raises what is wrong with the data set ``name``, a line each, if anything is.

    Raises:
        DataError: with the first mistakes and the number of all.
    """
    if mistakes:
        more = [f"{name}: and {len(mistakes) - SHOWN} more of such lines"] if len(mistakes) > SHOWN else []
        raise DataError("\n".join(mistakes[:SHOWN] + more))


def class_ids(prediction: torch.Tensor, classes: int, image: str) -> np.ndarray:
    """Class ids (H, W) of a prediction: of the highest score, the first one where several are.

    Args:
        prediction: scores (C, H, W), or ids (H, W) of an integer type.
        classes: C.
        image: its name, for the message.

    Raises:
        DataError: the prediction has another shape or another number of classes.
    """
    ids = prediction
    if prediction.ndim == 3 and len(prediction) == classes:
        # `argmax` on a CPU takes four times as long as `max` with its indices, which are the same.
        ids = prediction.max(dim=0).indices
        ids = ids.to(torch.uint8) if classes <= 255 else ids
    elif prediction.ndim != 2 or prediction.is_floating_point():
        raise DataError(
            f"{image}: its prediction has shape {tuple(prediction.shape)} of {prediction.dtype}, but {classes} classes "
            f"take scores ({classes}, height, width) or integer ids (height, width): the metadata's `stuff_classes` "
            "are to be as many as MODEL.SEM_SEG_HEAD.NUM_CLASSES"
        )
    return ids.cpu().numpy()


def _build(name: str, kinds: Sequence[TaskKind], folder: Path) -> DatasetEvaluator:
    evaluators = [semantic_evaluator(name, folder, keys=KEYS.named(kind.own_name)) for kind in kinds]
    return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)


SEMANTIC = Tool(
    "the IoU of classes",
    _build,
    "look at the ids in its label map, and at `stuff_classes` and `ignore_label` in its metadata",
    takes_ids=True,
)
