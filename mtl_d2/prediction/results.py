"""What a network says of an image, by kind of answer. Arrays are of numpy, in the pixels of the image as it was given.

A pixel (row i, column j) covers x from j to j + 1 and y from i to i + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Objects:
    """Objects of an image, the surest first; of the tasks detection and instance.

    Attributes:
        boxes: (N, 4) float32: x0, y0, x1, y1 in pixels, within the image.
        scores: (N,) float32 in [0, 1].
        class_ids: (N,) int64, places in ``classes``.
        classes: names of all classes.
        masks: (N, H, W) bool; None where the network has no masks.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    masks: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """The class of each object."""
        return [self.classes[k] for k in self.class_ids]


@dataclass(frozen=True)
class ClassMap:
    """A class for each pixel; of semantic tasks.

    Attributes:
        ids: (H, W) uint8, places in ``classes``.
        classes: names of all classes.
    """

    ids: npt.NDArray[np.uint8]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class DepthMap:
    """How far away each pixel is; of tasks of depth and of disparity.

    Attributes:
        values: (H, W) float32, along the optical axis for most data sets; as the network says it, so that a few may be
            negative.
        unit: "metres", or what the data set's metadata say.
    """

    values: npt.NDArray[np.float32]
    unit: str = "metres"


@dataclass(frozen=True)
class NormalsMap:
    """Which way each pixel faces.

    Attributes:
        vectors: (H, W, 3) float32 of length 1, in the camera's axes: x right, y down, z forward.
    """

    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageClass:
    """The class of a whole image; of tasks of classification.

    Attributes:
        class_id: place in ``classes``.
        classes: names of all classes; empty where nobody says them.
    """

    class_id: int
    classes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the class; its id where it has no name."""
        return self.classes[self.class_id] if self.class_id < len(self.classes) else str(self.class_id)


class Prediction(Mapping[str, Any]):
    """All that a network says of one image: results by the names of its tasks.

    ``prediction["detection"]`` is an ``Objects``, ``prediction["semantic"]`` a ``ClassMap`` and so on; tasks that share
    an answer, such as detection and instance, have the same one. A kind of task of your own has what its ``result``
    makes of the model's output.

    Attributes:
        height: of the image as it was given.
        width: likewise.
        shared: of each task, the first one that has the same answer.
    """

    def __init__(self, height: int, width: int, results: Mapping[str, Any], shared: Mapping[str, str]) -> None:
        """Args: as the attributes; ``results`` by the first task of each answer."""
        self.height, self.width, self.shared = height, width, dict(shared)
        self._results = dict(results)

    def __getitem__(self, task: str) -> Any:
        return self._results[self.shared.get(task, task)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shared)

    def __len__(self) -> int:
        return len(self.shared)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{task}: {type(self[task]).__name__}" for task in self)
        return f"Prediction({self.height} x {self.width}; {kinds})"

    def answers(self) -> dict[str, Any]:
        """Each answer once, by the task that it is drawn and written for."""
        return dict(self._results)
