"""Heads as the meta-architectures have them: what a detector brings itself, and layers whose output is a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from mtl_d2.data.annotated_classes import OTHER_CLASS
from mtl_d2.modeling.heads.map_layers import at_stored_size
from mtl_d2.modeling.heads.partial_classes import HiddenClasses, hidden_of
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Sample, Size, TaskKind
from mtl_d2.tasks.options import option_key, task_options
from mtl_d2.tasks.task import LabelSource, Task

Features = dict[str, Tensor]
LARGEST_ID = 255  # label maps have 8 bits


LossesOfOutputs = Callable[[list[Tensor], list[Sample], Reduction, LabelSource], dict[str, Tensor]]


def _nothing(features: Features, images: Any, sizes: Sequence[Size]) -> list[Any]:
    raise NotImplementedError("another head's predictions hold this one's")


@dataclass
class DetectorHead:
    """A branch of a detector, as a ``TaskHead`` made of its methods.

    One whose loss can be had of its ``outputs`` gives it in ``losses_of_outputs`` too.
    """

    task: Task
    levels: Sequence[str]
    losses: Callable[[Features, list[Sample], Reduction], dict[str, Tensor]]
    outputs: Callable[[Features], list[Tensor]]
    output_key: str | None = None
    predict: Callable[[Features, Any, Sequence[Size]], list[Any]] = _nothing
    losses_of_outputs: LossesOfOutputs | None = None


class MapHead:
    """A ``TaskHead`` of layers that make a map of a feature pyramid, by the methods of detectron2's ``SemSegFPNHead``.

    The layers have ``in_features``; ``loss_keys``; ``layers(features)``, the map at their ``common_stride``, as it is
    before losses; ``task_losses(features, targets, reduction, device)``, the terms by those keys, with ``hidden`` as
    well where pixels may be something else than they are labelled as; and called with features, in evaluation, they
    give the map (N, C, H, W) at the size of the padded images, first of a tuple. With ``map_losses(output, targets,
    reduction)``, the terms of what ``layers`` gave, these run once for all sources of labels.
    """

    def __init__(self, kind: TaskKind, layers: nn.Module) -> None:
        """Args: ``kind``, whose labels are maps; ``layers``, the model's attribute ``kind.module``."""
        self.kind, self.layers = kind, layers
        self.levels: Sequence[str] = layers.in_features  # type: ignore[assignment]
        self.output_key: str | None = kind.sample_key
        loss_keys = tuple(map(kind.key, layers.loss_keys))  # type: ignore[arg-type]
        self.task = Task(kind.task, loss_keys, (kind.module,))
        self.losses_of_outputs = self._losses_of_outputs if hasattr(layers, "map_losses") else None

    def losses(self, features: Features, samples: list[Sample], reduction: Reduction) -> dict[str, Tensor]:
        """See ``TaskHead``."""
        targets, hidden = self._targets(samples), self._hidden(samples)
        terms = self.layers.task_losses(features, targets, reduction, self._device, **hidden)  # type: ignore[operator]
        return {self.kind.key(name): term for name, term in terms.items()}

    def _losses_of_outputs(
        self, outputs: list[Tensor], samples: list[Sample], reduction: Reduction, source: LabelSource
    ) -> dict[str, Tensor]:
        if not samples:
            return self.losses({}, samples, reduction)
        targets, hidden = self._targets(samples), self._hidden(samples)
        terms = self.layers.map_losses(outputs[0], targets, reduction, **hidden)  # type: ignore[operator]
        return {self.kind.key(name): term for name, term in terms.items()}

    @property
    def _device(self) -> torch.device:
        return next(self.layers.parameters()).device

    def _targets(self, samples: list[Sample]) -> list[Tensor]:
        return [sample[self.kind.sample_key].to(self._device) for sample in samples]

    def _hidden(self, samples: list[Sample]) -> dict[str, HiddenClasses]:
        hidden = hidden_of(samples, self._device, self.kind.classes_key, self.kind.key(OTHER_CLASS))
        return {} if hidden is None else {"hidden": hidden}

    def outputs(self, features: Features) -> list[Tensor]:
        """See ``TaskHead``."""
        return [self.layers.layers(features)]  # type: ignore[operator]

    def predict(self, features: Features, images: Any, sizes: Sequence[Size]) -> list[Any]:
        """Maps (C, H, W) of the sizes asked for."""
        maps, _ = self.layers(features)
        shown = zip(maps, images.image_sizes, sizes, strict=True)
        return [at_stored_size(output, of_image, size) for output, of_image, size in shown]

    @staticmethod
    def check(cfg: CfgNode, kind: TaskKind) -> Iterator[str]:
        """Whether the head that a semantic task names can be one.

        Args:
            cfg: with the options of the task in its place.
            kind: of the task.
        """
        options = task_options(cfg, kind)
        key = option_key(cfg, kind, "IGNORE_VALUE")
        if not 0 <= options.IGNORE_VALUE <= LARGEST_ID:
            yield f"{key} must be a value of label maps, 0 to {LARGEST_ID}, got {options.IGNORE_VALUE}"
        for name in ("NUM_CLASSES", "CONVS_DIM", "COMMON_STRIDE"):  # detectron2's, which has no ranges
            if options[name] < 1:
                yield f"{option_key(cfg, kind, name)} must be a whole number >= 1, got {options[name]}"
        if options.NUM_CLASSES > LARGEST_ID + 1:
            yield (
                f"{option_key(cfg, kind, 'NUM_CLASSES')} must be at most {LARGEST_ID + 1}, as label maps have 8 bits, "
                f"got {options.NUM_CLASSES}"
            )
        heads = {name: cls for name, cls in SEM_SEG_HEADS_REGISTRY if hasattr(cls, "task_losses")}
        if options.NAME not in heads:
            yield (
                f"{option_key(cfg, kind, 'NAME')} is {options.NAME!r}, which cannot train on the samples of its own "
                f"task (it has no method task_losses): set it to {' or '.join(map(repr, heads))}"
            )
        elif hasattr(heads[options.NAME], "check"):
            yield from heads[options.NAME].check(cfg)
