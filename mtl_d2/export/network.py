"""A network as a function from an image to tensors, which is what other runtimes know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from mtl_d2.export.architectures import MASKS, predictions, thresholded
from mtl_d2.export.errors import ExportError

# What the fields of objects are called in a file, "KEY/FIELD" with the key of the prediction.
FIELDS = {"pred_boxes": "boxes", "scores": "scores", "pred_classes": "classes", MASKS: "masks"}


class ExportedNetwork(nn.Module):
    """Called with an image, the predictions of a model for it as a tuple of tensors.

    Attributes:
        names: of the tensors, since the last call: the key of a map, such as "sem_seg", or "instances/boxes" (M, 4),
            "instances/scores" (M,), "instances/classes" (M,) and, of a Mask R-CNN, "instances/masks" (M, S, S), the
            probability of the object in its own box; a classification has the probabilities (K,) of its classes.
        of_objects: those of the names whose tensors have a row for each object.
    """

    def __init__(self, model: nn.Module, ids: Collection[str] = ()) -> None:
        """Wraps.

        Args:
            model: one of this package's, in evaluation mode whenever this is called.
            ids: keys of maps of scores (C, H, W) that become maps of class ids (H, W) uint8.
        """
        super().__init__()
        self.model, self.ids = model, frozenset(ids)
        self.names: tuple[str, ...] = ()
        self.of_objects: frozenset[str] = frozenset()
        self.training = model.training

    def forward(self, image: Tensor, size: Tensor | None = None) -> tuple[Tensor, ...]:
        """Predicts.

        Args:
            image: (C, H, W) in the channel order and range of the model's pixels, as the network is to see it.
            size: (2,) int64, height and width that predictions are to have; None = those of ``image``.
        """
        return tuple(self.named(image, size).values())

    def named(self, image: Tensor, size: Tensor | None = None) -> dict[str, Tensor]:
        """The tensors by their names; see ``forward``."""
        sample = {"image": image} if size is None else {"image": image, "height": size[0], "width": size[1]}
        predicted = predictions(self.model, sample)
        named = dict(tensors(predicted))
        for key in self.ids & named.keys():
            named[key] = named[key].argmax(0).to(torch.uint8)
        self.names = tuple(named)
        objects = {key: value for key, value in predicted.items() if isinstance(value, Instances)}
        self.of_objects = frozenset(name for name, _ in tensors(objects))
        return named


def tensors(predicted: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The tensors that predictions consist of, by their names."""
    for key, prediction in predicted.items():
        if isinstance(prediction, Tensor):
            yield key, prediction
        elif isinstance(prediction, Instances):
            for field, value in prediction.get_fields().items():
                yield f"{key}/{FIELDS.get(field, field)}", value.tensor if isinstance(value, Boxes) else value
        else:
            raise ExportError(
                f"the prediction {key!r} is a {type(prediction).__name__}, and only tensors and detectron2's Instances "
                "can be exported: have its head predict one of these"
            )


@dataclass(frozen=True)
class Source:
    """What a file is made of.

    Attributes:
        network: in evaluation mode.
        inputs: by name, in their order, for which it is traced.
        describe: from the names of the outputs, what the file says about itself.
        any_size: whether images of other heights and widths are to be understood as well.
    """

    network: ExportedNetwork
    inputs: Mapping[str, Tensor]
    describe: Callable[[Sequence[str]], Mapping[str, Any]]
    any_size: bool


@contextmanager
def finding_nothing(model: nn.Module) -> Iterator[None]:
    """The model with a threshold that no score is above."""
    before = [(part, part.test_score_thresh) for part in thresholded(model)]
    try:
        for part, _ in before:
            part.test_score_thresh = 1.0
        yield
    finally:
        for part, threshold in before:
            part.test_score_thresh = threshold


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode and without gradients; afterwards each of its modules is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
