"""The model."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.backbone.checked import trunk_check
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin


def check_model(cfg: CfgNode) -> list[str]:
    """Whether there is such a model, and what it says of its config."""
    models = {name: cls for name, cls in META_ARCH_REGISTRY if issubclass(cls, MultiTaskMixin)}
    name = cfg.MODEL.META_ARCHITECTURE
    known = [unknown("MODEL.META_ARCHITECTURE", name, tuple(models))] if name not in models else models[name].check(cfg)
    return [*known, *trunk_check(cfg)]
