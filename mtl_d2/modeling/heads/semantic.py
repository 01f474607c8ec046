"""Semantic segmentation: losses of scores that Panoptic FPN's layers, or any others, make of a trunk's features."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.modeling.heads.enlarging import Enlarging, EnlargingInFloat
from mtl_d2.modeling.heads.map_layers import (
    ASPP_OPTIONS,
    LAYERS_OPTION,
    LOSS_SIZE,
    at_image_size,
    build_map_layers,
    every,
)
from mtl_d2.modeling.heads.partial_classes import HiddenClasses, united
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.options import Options, declare, number
from mtl_d2.parallel.reduction import Reduction


class SemanticLosses:
    """The loss of a semantic head that has ``layers(features)`` and ``map_losses``."""

    layers: Any
    map_losses: Any

    def task_losses(
        self,
        features: dict[str, Tensor],
        targets: list[Tensor],
        reduction: Reduction,
        device: torch.device,
        hidden: HiddenClasses | None = None,
    ) -> dict[str, Tensor]:
        """The terms of the loss, empty without samples: their counts are still summed over processes.

        Args:
            features: by name, each (N, C, Hi, Wi).
            targets: N maps (H, W) of class ids, ``ignore_value`` = no label; may be smaller than the padded image.
            reduction: sums pixels and images over processes.
            device: where the counts of a process without samples live.
            hidden: what pixels may be that are labelled as something else; None = all are what they are labelled as.
        """
        if not targets:
            reduction.count(torch.zeros(2, dtype=torch.float64, device=device))
            return {}
        return self.map_losses(self.layers(features), targets, reduction, hidden)


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNEntropyHead(SemanticLosses, Enlarging, SemSegFPNHead):
    """detectron2's Panoptic-FPN semantic head; cross entropy is a mean over the labelled pixels of its own samples.

    Differs from: ``SemSegFPNHead`` in nothing for one process; several processes have one mean over all their pixels.
    """

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_sem_seg",)

    @classmethod
    def check(cls, cfg: Any) -> list[str]:
        """One sentence for each setting of ``cfg`` that this head does not follow."""
        dice = _of_another(cfg, "SemSegFPNDiceHead", _DICE_HEAD_OPTIONS)
        return [*_of_another(cfg, "SemSegMapHead", _MAP_HEAD_OPTIONS), *dice]

    def map_losses(
        self,
        output: Tensor,
        targets: list[Tensor],
        reduction: Reduction,
        hidden: HiddenClasses | None = None,
    ) -> dict[str, Tensor]:
        """The terms of what the layers gave, (N, C, h, w) for the N > 0 samples; args as ``task_losses`` has them."""
        logits, target = upsampled(self, output, targets)
        pixels, _ = _counts(target, self.ignore_value, reduction).to(logits.dtype)
        logits = logits if hidden is None else united(logits, target, hidden)
        entropy = F.cross_entropy(logits, target, reduction="sum", ignore_index=self.ignore_value)
        return {"loss_sem_seg": entropy / pixels * self.loss_weight}


_MAP_HEAD_OPTIONS = {
    "LAYERS": LAYERS_OPTION,
    "LOSS_SIZE": LOSS_SIZE,
    "LABEL_SMOOTHING": number(
        0.0, "Share of each pixel's target that is spread over all classes, in SemSegMapHead.", least=0, below=1
    ),
    **ASPP_OPTIONS,
}
declare("MODEL.SEM_SEG_HEAD", _MAP_HEAD_OPTIONS)
_DICE_HEAD_OPTIONS = {
    "CE_WEIGHT": number(0.5, "Factor of the cross entropy of SemSegFPNDiceHead, which has no LOSS_WEIGHT.", least=0),
    "DICE_WEIGHT": number(0.5, "Factor of its dice loss.", least=0),
}
declare("MODEL.SEM_SEG_HEAD", _DICE_HEAD_OPTIONS)


def _of_another(cfg: Any, head: str, options_of_it: Options) -> list[str]:
    """A sentence for each of the options of ``head`` that a config sets for another one, which does not follow it."""
    options = cfg.MODEL.SEM_SEG_HEAD
    return [
        f"MODEL.SEM_SEG_HEAD.{key} is {options[key]!r}, which {options.NAME} does not follow: leave it at "
        f"{option.default!r}, or set MODEL.SEM_SEG_HEAD.NAME to {head!r}"
        for key, option in options_of_it.items()
        if options[key] not in (option.default, _listed(option.default))
    ]


def _listed(value: Any) -> Any:
    """As YAML has it."""
    return list(value) if isinstance(value, tuple) else value


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegMapHead(SemanticLosses, EnlargingInFloat, nn.Module):
    """Scores of classes from the layers of ``MODEL.SEM_SEG_HEAD.LAYERS``; cross entropy is a mean over labelled pixels.

    Differs from: ``SemSegFPNEntropyHead`` in nothing where the layers are "fpn".
    """

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_sem_seg",)

    @configurable
    def __init__(
        self,
        layers: nn.Module,
        *,
        ignore_value: int = 255,
        loss_weight: float = 1.0,
        loss_size: str = "image",
        label_smoothing: float = 0.0,
    ) -> None:
        """Args as the keys of the config have them.

        Args:
            layers: with a channel for each class; see ``mtl_d2.modeling.heads.map_layers``.
            ignore_value: id of pixels without a label.
            loss_weight: factor of the loss.
            loss_size: "image" or "map".
            label_smoothing: in [0, 1).
        """
        super().__init__()
        self.layers, self.ignore_value, self.loss_weight = layers, ignore_value, loss_weight
        self.in_features, self.common_stride = layers.in_features, int(layers.common_stride)  # type: ignore[arg-type]
        self.loss_stride = 1 if loss_size == "image" else self.common_stride
        self.label_smoothing = label_smoothing

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MODEL.SEM_SEG_HEAD``."""
        options = cfg.MODEL.SEM_SEG_HEAD
        return {
            "layers": build_map_layers(options, input_shape, options.NUM_CLASSES),
            "ignore_value": options.IGNORE_VALUE,
            "loss_weight": options.LOSS_WEIGHT,
            "loss_size": options.LOSS_SIZE,
            "label_smoothing": options.LABEL_SMOOTHING,
        }

    @classmethod
    def check(cls, cfg: Any) -> list[str]:
        """One sentence for each setting of ``cfg`` that this head does not follow."""
        return _of_another(cfg, "SemSegFPNDiceHead", _DICE_HEAD_OPTIONS)

    def map_losses(
        self,
        output: Tensor,
        targets: list[Tensor],
        reduction: Reduction,
        hidden: HiddenClasses | None = None,
    ) -> dict[str, Tensor]:
        """The terms of what the layers gave, (N, C, h, w) for the N > 0 samples; args as ``task_losses`` has them."""
        logits = at_image_size(output, self.common_stride // self.loss_stride)
        target = _padded(targets, logits, self.ignore_value, self.loss_stride)
        pixels, _ = _counts(target, self.ignore_value, reduction).to(logits.dtype)
        logits = logits if hidden is None else united(logits, target, hidden)
        smoothing = self.label_smoothing
        entropy = F.cross_entropy(
            logits, target, reduction="sum", ignore_index=self.ignore_value, label_smoothing=smoothing
        )
        return {"loss_sem_seg": entropy / pixels * self.loss_weight}

    def forward(self, features: dict[str, Tensor], targets: None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores at the size of the padded images, and no loss, as detectron2's head has it in evaluation."""
        return self.enlarged(self.layers(features)), {}


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNDiceHead(SemanticLosses, Enlarging, SemSegFPNHead):
    """detectron2's Panoptic-FPN semantic head with cross entropy + dice, each a mean over its own samples.

    Paper: the semantic loss of MCLGS's BDD100K setup, 0.5 cross entropy + 0.5 dice.
    Differs from: the paper leaves open what dice is; see ``dice_loss``.
    """

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_sem_seg_ce", "loss_sem_seg_dice")

    @configurable
    def __init__(
        self, input_shape: dict[str, ShapeSpec], *, ce_weight: float = 0.5, dice_weight: float = 0.5, **kwargs: Any
    ) -> None:
        """Args: the factors of the two terms; the others are those of ``SemSegFPNHead``."""
        super().__init__(input_shape, **kwargs)
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MODEL.SEM_SEG_HEAD``."""
        options = super().from_config(cfg, input_shape)
        options["norm"] = narrow_norm(cfg.MODEL.SEM_SEG_HEAD.NORM)
        options["ce_weight"] = cfg.MODEL.SEM_SEG_HEAD.CE_WEIGHT
        options["dice_weight"] = cfg.MODEL.SEM_SEG_HEAD.DICE_WEIGHT
        return options

    @classmethod
    def check(cls, cfg: Any) -> list[str]:
        """One sentence for each setting of ``cfg`` that this head does not follow."""
        factor, mistakes = cfg.MODEL.SEM_SEG_HEAD.LOSS_WEIGHT, _of_another(cfg, "SemSegMapHead", _MAP_HEAD_OPTIONS)
        if factor == 1.0:
            return mistakes
        return [
            *mistakes,
            f"MODEL.SEM_SEG_HEAD.LOSS_WEIGHT is {factor}, but SemSegFPNDiceHead takes CE_WEIGHT and DICE_WEIGHT; leave "
            "it at 1.0",
        ]

    def map_losses(
        self,
        output: Tensor,
        targets: list[Tensor],
        reduction: Reduction,
        hidden: HiddenClasses | None = None,
    ) -> dict[str, Tensor]:
        """The terms of what the layers gave, (N, C, h, w) for the N > 0 samples; args as ``task_losses`` has them."""
        logits, target = upsampled(self, output, targets)
        pixels, images = _counts(target, self.ignore_value, reduction).to(logits.dtype)
        logits = logits if hidden is None else united(logits, target, hidden)
        entropy = F.cross_entropy(logits, target, reduction="sum", ignore_index=self.ignore_value)
        return {
            "loss_sem_seg_ce": self.ce_weight * entropy / pixels,
            "loss_sem_seg_dice": self.dice_weight * dice_loss(logits, target, self.ignore_value).sum() / images,
        }


def upsampled(head: SemSegFPNHead, output: Tensor, targets: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (N, C, H, W) of the head at the size of the padded images, and the targets (N, H, W) padded likewise."""
    logits = at_image_size(output, head.common_stride)
    return logits, _padded(targets, logits, head.ignore_value)


def _padded(targets: list[Tensor], logits: Tensor, ignore_value: int, stride: int = 1) -> Tensor:
    """The targets (N, h, w) of logits (N, C, h, w), each of which stands for ``stride`` squared pixels of an image."""
    height, width = (side * stride for side in logits.shape[2:])
    target = logits.new_full((len(targets), height, width), ignore_value, dtype=torch.long)
    for padded, unpadded in zip(target, targets, strict=True):
        padded[: unpadded.shape[0], : unpadded.shape[1]] = unpadded
    return every(target, stride)


def _counts(target: Tensor, ignore_value: int, reduction: Reduction) -> Tensor:
    """(2,) float64, > 0: labelled pixels of all processes, and images that have any, for each process."""
    labelled = (target != ignore_value).flatten(1).sum(1)  # (N,)
    return reduction.count(torch.stack([labelled.sum(), (labelled > 0).sum()]).double()).clamp(min=1e-6)


def dice_loss(logits: Tensor, target: Tensor, ignore_value: int) -> Tensor:
    """Soft dice loss of each image: 1 - mean over its present classes of 2 sum(p t) / (sum p + sum t).

    Sums are over the labelled pixels of one image; p is the softmax, t the one-hot target. A class that the image does
    not have is not averaged over, so that it costs nothing to be sure of its absence.

    Args:
        logits: (N, C, H, W).
        target: (N, H, W) class ids in [0, C) or ``ignore_value``.
        ignore_value: id of pixels without a label.

    Returns:
        (N,) in [0, 1]; 0 for an image without a labelled pixel.
    """
    valid = (target != ignore_value).flatten(1)  # (N, HW)
    ids = torch.where(valid, target.flatten(1), 0)
    probability = logits.softmax(1).flatten(2)  # (N, C, HW)
    at_target = probability.gather(1, ids[:, None])[:, 0] * valid
    zeros = logits.new_zeros(logits.shape[:2])
    overlap = zeros.scatter_add(1, ids, at_target)  # (N, C)
    size = zeros.scatter_add(1, ids, valid.to(zeros.dtype))
    predicted = torch.einsum("ncp,np->nc", probability, valid.to(probability.dtype))
    present = size > 0
    dice = 2 * overlap / (predicted + size).clamp(min=1)
    classes = present.sum(1)
    return torch.where(classes > 0, 1 - (dice * present).sum(1) / classes.clamp(min=1), 0.0)
