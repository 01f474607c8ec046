"""Networks that predict maps alone: any trunk, and each task's layers on its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList
from torch import Tensor, nn

from mtl_d2.config import ConfigError
from mtl_d2.config_checks.declared import check_declared
from mtl_d2.modeling.backbone.checked import trunk_check
from mtl_d2.modeling.build_errors import said_of_keys
from mtl_d2.modeling.build_once import build_once
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.tasks.options import task_config
from mtl_d2.tasks.registry import is_known, kinds_of
from mtl_d2.tasks.sources import label_sources
from mtl_d2.tasks.task import GROUND_TRUTH, LabelSource


@META_ARCH_REGISTRY.register()
class MultiTaskDense(MultiTaskMixin, nn.Module):
    """A trunk of ``MODEL.BACKBONE.NAME`` and, for each task, the layers that its head's ``LAYERS`` name.

    SegNet-Split, MTAN and dilated DeepLabV3 are configs of it; see docs/dense_networks.md.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        tasks: tuple[str, ...],
        layers: Mapping[str, nn.Module],
        pixel_mean: list[float],
        pixel_std: list[float],
        label_sources: Sequence[LabelSource] = (GROUND_TRUTH,),
    ) -> None:
        """Args as ``from_config`` makes them.

        Args:
            backbone: detectron2's ``Backbone``; images (N, C, H, W) to maps by name.
            tasks: names, in their order.
            layers: of each task.
            pixel_mean: one number for each channel.
            pixel_std: likewise.
            label_sources: of all tasks.
        """
        super().__init__()
        self.backbone = backbone
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.set_heads(tasks, layers, label_sources)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MTL.TASKS`` and ``cfg.MODEL``."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "tasks": tuple(cfg.MTL.TASKS),
            "layers": cls.build_task_layers(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "label_sources": label_sources(cfg),
        }

    @classmethod
    def check(cls, cfg: CfgNode) -> list[str]:
        """Of the tasks; then what building the network says, which costs nothing without memory for its numbers."""
        mistakes = super().check(cfg)
        of_heads = (
            list(kind.check_config(task_config(cfg, kind))) for kind in kinds_of(filter(is_known, cfg.MTL.TASKS))
        )
        if mistakes or trunk_check(cfg) or any(of_heads) or any(check_declared(cfg)):
            return mistakes  # others say the rest
        try:
            with said_of_keys(cfg):
                build_once(cls, cfg)
        except ConfigError as error:
            return [str(error)]
        return []

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def preprocess_image(self, samples: list[dict]) -> ImageList:
        """Normalized images, padded to the largest and to a multiple of the trunk's stride."""
        images = [sample["image"].to(self.device, non_blocking=True) for sample in samples]
        normalized = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(normalized, self.backbone.size_divisibility)  # type: ignore[arg-type]
