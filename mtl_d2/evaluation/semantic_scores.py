"""Confusion matrices of classes of pixels, and what each data set's official tool makes of one.

The tools agree on the IoU of a class and differ in which classes their mean is taken over. detectron2 itself has had
two answers, both of them as version 0.6; so nothing here is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_d2.evaluation.class_names import told_apart


@dataclass(frozen=True)
class Convention:
    """Which classes mean IoU is taken over.

    Attributes:
        definition: what a reader needs to know to compare the number, and whose it is.
        counts: from the labelled pixels of each class in truth and prediction, both (C,), to a mask (C,).
    """

    definition: str
    counts: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _in_truth(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return truth > 0


def _in_either(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return truth + predicted > 0


OF_TRUTH = "mean IoU over the classes that occur in the truth"
RECALL = "mACC is a mean of recalls"
# By the metadata `semantic_convention` of a data set.
CONVENTIONS = {
    "bdd100k": Convention(f"{OF_TRUTH}, as by BDD100K's toolkit 1.0.1; {RECALL}, its Acc one of precisions", _in_truth),
    "cityscapes": Convention(
        "mean IoU over the classes that occur in truth or predictions, as by cityscapesscripts 2.3", _in_either
    ),
    "detectron2": Convention(f"{OF_TRUTH}, as by detectron2's main branch; {RECALL}", _in_truth),
}
DEFAULT = "detectron2"


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int, ignored: int) -> np.ndarray:
    """How many pixels of each class are predicted as each class.

    Args:
        truth: (H, W) of ids below ``classes``, or ``ignored``: such pixels are not counted, even if it is a class's id.
        predicted: (H, W) of integers; what is not the id of a class says nothing, and is wrong wherever it is counted.
        classes: C.
        ignored: the id of pixels without a label.

    Returns:
        (C, C + 1) int64, truth by prediction; the last column counts predictions of no class.
    """
    if truth.dtype == predicted.dtype == np.uint8 and classes <= 256:  # one pass over codes of 16 bits
        codes = truth.astype(np.uint16) << 8 | predicted
        counts = np.bincount(codes.reshape(-1), minlength=1 << 16).reshape(256, 256)
        if ignored in range(256):
            counts[ignored] = 0
        return np.hstack([counts[:classes, :classes], counts[:classes, classes:].sum(axis=1, keepdims=True)])
    size = classes + 1
    codes = np.where(truth == ignored, classes, truth.astype(np.int64)) * size
    codes += np.where((predicted >= 0) & (predicted < classes), predicted, classes)
    return np.bincount(codes.reshape(-1), minlength=size * size).reshape(size, size)[:-1]


def semantic_scores(confusion: np.ndarray, names: Sequence[str], convention: str) -> dict[str, float]:
    """detectron2's metrics by its names, in percent; mean IoU by the convention.

    Args:
        confusion: as :func:`confusion_matrix` gives it, summed over images.
        names: of the C classes.
        convention: a key of ``CONVENTIONS``.

    Returns:
        ``mIoU``; ``fwIoU``, IoU weighted by the class's share of the truth; ``IoU-<class>``; ``mACC``, the mean recall
        of the classes in the truth (the BDD100K toolkit's Acc is a mean of precisions); ``pACC``, the share of pixels
        that are right; ``ACC-<class>``, its recall. NaN where it is not defined: of a class that the mean leaves out,
        recall of a class without truth, and means where nothing is labelled.
    """
    truth, predicted = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
    right = confusion.diagonal()
    counted, labelled = CONVENTIONS[convention].counts(truth, predicted), truth > 0
    iou = _share(right, np.where(counted, truth + predicted - right, 0))
    recall = _share(right, truth)
    names = told_apart(names)
    shares = {
        "mIoU": _mean(iou[counted]),
        "fwIoU": float(_share(iou[labelled] @ truth[labelled], truth.sum())),
        **{f"IoU-{name}": float(value) for name, value in zip(names, iou, strict=True)},
        "mACC": _mean(recall[labelled]),
        "pACC": float(_share(right.sum(), truth.sum())),
        **{f"ACC-{name}": float(value) for name, value in zip(names, recall, strict=True)},
    }
    return {name: 100 * value for name, value in shares.items()}


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0."""
    whole = np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
