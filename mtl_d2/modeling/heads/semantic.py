"""Semantic segmentation: losses of scores that Panoptic FPN's layers, or any others, make of a trunk's features."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from torch import Tensor, nn

from mtl_d2.modeling.heads.enlarging import Enlarging, EnlargingInFloat
from mtl_d2.modeling.heads.map_layers import (
    ASPP_OPTIONS,
    LAYERS_OPTION,
    LOSS_SIZE,
    build_map_layers,
)
from mtl_d2.modeling.heads.partial_classes import HiddenClasses
from mtl_d2.modeling.heads.semantic_losses import SemanticLosses, dice_loss, labelled_counts, mean_entropy
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.options import Options, declare, number
from mtl_d2.parallel.reduction import Reduction


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
        return {"loss_sem_seg": mean_entropy(self, output, targets, reduction, hidden) * self.loss_weight}


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
        return {"loss_sem_seg": mean_entropy(self, output, targets, reduction, hidden) * self.loss_weight}


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
        target = self.padded(output, targets)
        counts = labelled_counts(target, self.ignore_value, reduction)
        entropy, dice = self.image_sums(output, target, hidden).sum(1)
        pixels, images = counts.to(entropy.dtype)
        return {
            "loss_sem_seg_ce": self.ce_weight * entropy / pixels,
            "loss_sem_seg_dice": self.dice_weight * dice / images,
        }

    def of_logits(self, logits: Tensor, target: Tensor) -> Tensor:
        """(2, N): the cross entropy, and dice."""
        return torch.cat([super().of_logits(logits, target), dice_loss(logits, target, self.ignore_value)[None]])
