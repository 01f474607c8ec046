"""What the page asks of the labels of a task, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.config import CfgNode

from mtl_d2.data.annotated_classes import NOT_ANNOTATED, annotated_classes
from mtl_d2.data.errors import DataError
from mtl_d2.report.canvas import Canvas
from mtl_d2.tasks.base import Record, Sample, TaskKind

Array = npt.NDArray[Any]


@dataclass
class Labels:
    """The labels of one task in one data set, of one source.

    Attributes:
        dataset: its name.
        metadata: of it.
        kind: the task.
        prefix: of the source, see ``mtl_d2.tasks.sources``.
        is_trained_on: whether it is a training set.
        records: those that have the label, without the prefix.
        observed: what was kept of each sample that has it.
        named_by: the data set that names the classes, where it is another one, as of pseudo labels.
        with_images: how many samples were looked at, with the label or without.
        lost: how many of them lost it by augmentation.
    """

    dataset: str
    metadata: Any
    kind: TaskKind
    prefix: str
    is_trained_on: bool
    records: Sequence[Record] = ()
    observed: list[Any] = field(default_factory=list)
    named_by: str = ""
    with_images: int = 0
    lost: int = 0

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return [str(name) for name in self.kind.class_names(self.named_by or self.dataset)]

    def known(self) -> list[bool]:
        """Of each class whether the set is annotated for it."""
        key = self.kind.classes_key
        if key not in ("thing_classes", *_map_keys(key)):
            return [True] * len(self.names)
        try:
            states = annotated_classes(self.metadata, key).states or (NOT_ANNOTATED + 1,) * len(self.names)
        except DataError:  # which the check has said
            return [True] * len(self.names)
        return [state != NOT_ANNOTATED for state in states]


def _map_keys(key: str) -> tuple[str, ...]:
    return (key,) if key.startswith("stuff_classes") else ()


@dataclass(frozen=True)
class Profile:
    """What the samples of one class look like, to be compared with other data sets.

    Attributes:
        features: (N, F), the same F for all labels of a form, each comparable by differences.
    """

    features: Array

    @property
    def mean(self) -> Array:
        """(F,)."""
        return self.features.mean(0)

    @property
    def variance(self) -> Array:
        """(F,)."""
        return self.features.var(0)


@dataclass
class Summary:
    """What is said of the labels of a task in a data set.

    Attributes:
        html: for the page.
        suspicious: a sentence for each thing that can hardly be meant.
        notes: a sentence for what is worth knowing.
        profiles: by name of a class.
    """

    html: str = ""
    suspicious: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    profiles: Mapping[str, Profile] = field(default_factory=dict)


class Inspector:
    """Looks at the labels of a task. This one knows nothing of them but how to have the kind draw them."""

    def __init__(self, kind: TaskKind, cfg: CfgNode) -> None:
        """Args: ``kind``, the task; ``cfg`` of the run."""
        self.kind, self.cfg = kind, cfg

    def observe(self, sample: Sample, image: Array) -> Any:
        """The few numbers that are kept of a sample; they are sent between processes.

        Args:
            sample: with the label in its usual place.
            image: (H, W, 3) uint8, RGB, as trained on.
        """
        return None

    def draw(self, canvas: Canvas, sample: Sample, metadata: Any) -> None:
        """Draws the label of a sample."""
        self.kind.draw_prediction(canvas, sample[self.kind.sample_key], metadata)

    def agreement(self, true: Sample, taught: Sample) -> tuple[float, float]:
        """How much of a teacher's label the ground truth of the same image says as well, and of how much.

        Args:
            true: with the ground truth in its usual place.
            taught: with the pseudo label there.
        """
        return 0.0, 0.0

    def summary(self, labels: Labels) -> Summary:
        """What is said of all of them."""
        return Summary()


@singledispatch
def inspector(kind: TaskKind, cfg: CfgNode) -> Inspector:
    """The inspector of a task; one for each class of kinds is registered here, as with ``functools.singledispatch``."""
    return Inspector(kind, cfg)


def share(part: float, whole: float) -> str:
    """In percent."""
    return f"{100 * part / whole:.3g} %" if whole else "-"


def lab(image: Array) -> Array:
    """(H, W, 3) uint8 RGB -> float32 in [0, 1], steps about even to the eye (CIE L*a*b*, in OpenCV's 8 bits)."""
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.float32) / 255


def listed_names(names: Sequence[str], shown: int = 6) -> str:
    """The first of some names in words."""
    rest = len(names) - shown
    return ", ".join(repr(name) for name in names[:shown]) + (f" and {rest} more" if rest > 0 else "")
