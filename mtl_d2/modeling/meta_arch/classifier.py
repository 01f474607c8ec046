"""Small networks that classify whole images: a trunk, and a head for each task."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.data.classification import classes_of, each
from mtl_d2.modeling.heads.map_head import DetectorHead
from mtl_d2.modeling.layers import LayerError, Shape, Style, build_layers
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.options import Option, choice, declare, number
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import TaskHead
from mtl_d2.tasks.task import Task

FEATURES = "trunk"  # the one feature that the heads look at
# Keys of MODEL.CLASSIFIER with a number for each task: rule, and whether a number keeps to it.
_EACH: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("NUM_CLASSES", "integer >= 2", lambda n: isinstance(n, int) and n >= 2),
    ("LOSS_WEIGHTS", "number > 0", lambda n: isinstance(n, int | float) and 0 < n < math.inf),
)


OPTIONS = {
    "INPUT_SHAPE": Option(
        (1, 36, 36),
        "Channels, height and width of the images; PIXEL_MEAN and PIXEL_STD have a number for each.",
    ),
    "NUM_CLASSES": Option((10,), "Classes of each task of MTL.TASKS in its order, or one number for all of them."),
    "LOSS_WEIGHTS": Option(
        (1.0,), "Factor of the loss of each task of MTL.TASKS in its order, or one number for all of them."
    ),
    "TRUNK": Option(
        ("conv 10 9", "pool 2", "conv 20 5", "pool 2", "linear 50"),
        'Layers that all tasks share: "conv FILTERS KERNEL [STRIDE]" without padding, "linear WIDTH" (both followed by '
        'a ReLU), "pool KERNEL" (maximum). The default is the LeNet of Pareto MTL.',
    ),
    "HEAD": Option((), "Layers of each task before its last linear layer, which is always there."),
    "CONV_BIAS": Option(True, "Whether convolutions have a bias."),
    "NORM": choice("", "Normalization between each convolution and its ReLU.", ("", "BN")),
    "DROPOUT": number(
        0.0,
        "Probability that an output of a convolution or hidden linear layer is dropped in training.",
        least=0,
        below=1,
    ),
}
declare("MODEL.CLASSIFIER", OPTIONS)


@META_ARCH_REGISTRY.register()
class MultiTaskClassifier(MultiTaskMixin, nn.Module):
    """Any number of classifications of one image, with layers that a config lists.

    Paper: by default the LeNet of Pareto MTL (Lin et al., NeurIPS 2019); CosReg's network, section 4, by its config.
    Differs from: nothing; initial weights are torch's. A task's loss is the mean cross entropy of its own samples times
    a factor of the config.
    """

    brings = ("classification",)
    has_pyramid = False

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Sequential,
        heads: dict[str, nn.Module],
        loss_weights: list[float],
        pixel_mean: list[float],
        pixel_std: list[float],
        image_shape: Shape | None = None,
    ) -> None:
        """Args as ``from_config`` makes them.

        Args:
            backbone: (N, C, H, W) to features (N, ...).
            heads: by task, features (N, ...) to logits (N, classes of the task).
            loss_weights: factor of each task's loss, in the order of ``heads``.
            pixel_mean: one number for each channel.
            pixel_std: likewise.
            image_shape: channels, height and width of the images; None = whatever the layers take.
        """
        super().__init__()
        self.backbone, self.image_shape = backbone, image_shape
        self.heads = nn.ModuleDict(heads)
        self.loss_weights = dict(zip(heads, loss_weights, strict=True))
        self.set_heads(tuple(heads), {})
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MTL.TASKS`` and ``cfg.MODEL.CLASSIFIER``."""
        options = cfg.MODEL.CLASSIFIER
        style = Style(options.CONV_BIAS, options.NORM, options.DROPOUT)
        trunk, shape = build_layers(options.TRUNK, tuple(options.INPUT_SHAPE), style)
        heads = {task: _head(options.HEAD, shape, style, number) for task, number in classes_of(cfg).items()}
        return {
            "backbone": trunk,
            "heads": heads,
            "loss_weights": each(options.LOSS_WEIGHTS, len(heads)),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "image_shape": tuple(options.INPUT_SHAPE),
        }

    @classmethod
    def check(cls, cfg: CfgNode) -> list[str]:
        """One sentence for every mistake in ``MODEL.CLASSIFIER``."""
        options, tasks, mistakes = cfg.MODEL.CLASSIFIER, list(cfg.MTL.TASKS), super().check(cfg)
        shape = tuple(options.INPUT_SHAPE)
        for key, rule, valid in _EACH:
            numbers = tuple(options[key])
            if len(numbers) not in (1, len(tasks)) or not all(map(valid, numbers)):
                rule = f"must be one {rule}, or one for each of MTL.TASKS, {len(tasks)}"
                mistakes.append(f"MODEL.CLASSIFIER.{key} {rule}; got {numbers}")
        if len(shape) != 3 or any(not isinstance(n, int) or n < 1 for n in shape):
            return [*mistakes, f"MODEL.CLASSIFIER.INPUT_SHAPE must be 3 integers >= 1, got {shape}"]
        for key in ("PIXEL_MEAN", "PIXEL_STD"):
            if len(cfg.MODEL[key]) != shape[0]:
                mistakes.append(f"MODEL.{key} must have a number for each of {shape[0]} channels, got {cfg.MODEL[key]}")
        return [*mistakes, *_wrong_layers(options, shape)]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def batch_images(self, samples: list[dict]) -> Tensor:
        """(N, C, H, W) normalized images, all of ``INPUT_SHAPE``."""
        images = torch.stack([sample["image"] for sample in samples]).to(self.device, non_blocking=True)
        return (images - self.pixel_mean).div_(self.pixel_std)  # in place: a batch in memory once

    def shared_features(self, images: Tensor) -> dict[str, Tensor]:
        """What the trunk makes of ``images`` ((N, C, H, W))."""
        return {FEATURES: self.backbone(images)}

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """Those of the trunk's last convolution or linear layer."""
        layers = [m for m in self.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return list(layers[-1].parameters())

    def reached_parameters(self) -> dict[str, list[str]]:
        """All of the trunk that moves, for each task."""
        names = [f"backbone.{name}" for name, p in self.backbone.named_parameters() if p.requires_grad]
        return {task.name: names for task in self.tasks}

    def detector_heads(self) -> list[TaskHead]:
        """A classification for each of ``heads``."""
        return [
            DetectorHead(
                Task(task, (f"loss_{task}",), (f"heads.{task}",)),
                [FEATURES],
                partial(self._entropy, task),
                partial(self._logits, task),
            )
            for task in self.heads
        ]

    def _logits(self, task: str, features: dict[str, Tensor]) -> list[Tensor]:
        return [self.heads[task](features[FEATURES])]

    def _entropy(
        self, task: str, features: dict[str, Tensor], samples: list[dict], reduction: Reduction
    ) -> dict[str, Tensor]:
        """The mean cross entropy of one task over ``samples``; see ``MultiTaskModel``."""
        count = reduction.count(torch.full((), float(len(samples)), device=self.device))
        if not samples:
            return {}
        targets = torch.tensor([sample[task] for sample in samples]).to(self.device, non_blocking=True)
        logits = self.heads[task](features[FEATURES]).float()
        loss = F.cross_entropy(logits, targets, reduction="sum")
        return {f"loss_{task}": loss / (count / self.loss_weights[task])}

    def inference(self, batched_inputs: list[dict]) -> list[dict[str, Any]]:
        """For each sample the class id of each task, by its name."""
        features = self.shared_features(self.batch_images(batched_inputs))
        ids = [head(features[FEATURES]).argmax(1).tolist() for head in self.heads.values()]
        return [dict(zip(self.heads, of_image, strict=True)) for of_image in zip(*ids, strict=True)]


def _wrong_layers(options: CfgNode, shape: Shape) -> list[str]:
    style = Style(options.CONV_BIAS, "", 0.0)
    try:
        with torch.device("meta"):  # draws no weights
            trunk, after = build_layers(options.TRUNK, shape, style, "MODEL.CLASSIFIER.TRUNK")
            build_layers(options.HEAD, after, style, "MODEL.CLASSIFIER.HEAD")
    except LayerError as error:
        return [str(error)]
    if any(True for _ in trunk.parameters()):
        return []
    return [f"MODEL.CLASSIFIER.TRUNK must have a conv or linear layer, got {tuple(options.TRUNK)}"]


def _head(layers: tuple[str, ...], shape: Shape, style: Style, classes: int) -> nn.Sequential:
    head, shape = build_layers(layers, shape, style)
    if len(shape) > 1:
        head.append(nn.Flatten())
    width = 1
    for n in shape:
        width *= n
    head.append(nn.Linear(width, classes))
    return head
