"""A meta-architecture of one's own: any trunk with a feature pyramid, heads of pixels on it, and no detector.

MODEL: {META_ARCHITECTURE: "PixelNet", PIXEL_NET: {DROPOUT: 0.1}}
MTL: {TASKS: ["semantic", "depth"], DATA: {MODULES: ["docs/examples/new_meta_arch.py"]}}
"""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList
from torch import nn

from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.options import declare, number
from mtl_d2.tasks.sources import label_sources

declare("MODEL.PIXEL_NET", {"DROPOUT": number(0.0, "Share of channels that are dropped.", least=0, below=1)})


@META_ARCH_REGISTRY.register()
class PixelNet(MultiTaskMixin, nn.Module):
    """``MultiTaskMixin`` makes heads of the tasks' own layers, losses, predictions and exact gradients."""

    @configurable
    def __init__(self, *, backbone, tasks, layers, label_sources, dropout, pixel_mean, pixel_std):
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.set_heads(tasks, layers, label_sources)

    @classmethod
    def from_config(cls, cfg):
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "tasks": tuple(cfg.MTL.TASKS),
            "layers": cls.build_task_layers(cfg, backbone.output_shape()),
            "label_sources": label_sources(cfg),
            "dropout": cfg.MODEL.PIXEL_NET.DROPOUT,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def preprocess_image(self, samples):
        """Normalized images, padded to the largest and to a multiple of the pyramid's stride."""
        images = [(sample["image"].to(self.pixel_mean.device) - self.pixel_mean) / self.pixel_std for sample in samples]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def shared_features(self, images):
        """What all heads look at."""
        return {name: self.dropout(level) for name, level in super().shared_features(images).items()}
