"""The model."""

from __future__ import annotations

import math

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.backbone.checked import trunk_check
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin
from mtl_d2.modeling.wanted import CLASSES_AT


def check_model(cfg: CfgNode) -> list[str]:
    """Whether there is such a model, and what it says of its config."""
    models = {name: cls for name, cls in META_ARCH_REGISTRY if issubclass(cls, MultiTaskMixin)}
    name = cfg.MODEL.META_ARCHITECTURE
    known = [unknown("MODEL.META_ARCHITECTURE", name, tuple(models))] if name not in models else models[name].check(cfg)
    if cfg.MTL.CLASSES_AT not in CLASSES_AT:
        known = [*known, unknown("MTL.CLASSES_AT", cfg.MTL.CLASSES_AT, CLASSES_AT)]
    return [*known, *_check_pixels(cfg), *trunk_check(cfg)]


def _check_pixels(cfg: CfgNode) -> list[str]:
    mean, std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    lines = []
    if len(mean) != len(std):
        lines.append(f"MODEL.PIXEL_MEAN and MODEL.PIXEL_STD must have as many numbers, got {mean} and {std}")
    if not all(0 < deviation < math.inf for deviation in std):
        lines.append(f"MODEL.PIXEL_STD must be numbers > 0, which images are divided by, got {std}")
    return lines
