"""The model and its semantic head."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY

from mtl_d2.config_checks.sentences import unknown
from mtl_d2.modeling.meta_arch.multi_task import MultiTaskMixin

LARGEST_ID = 255  # label maps have 8 bits


def check_model(cfg: CfgNode) -> list[str]:
    """Whether there is such a model, and what it says of its config."""
    models = {name: cls for name, cls in META_ARCH_REGISTRY if issubclass(cls, MultiTaskMixin)}
    name = cfg.MODEL.META_ARCHITECTURE
    found = models[name].check(cfg) if name in models else [unknown("MODEL.META_ARCHITECTURE", name, tuple(models))]
    if "semantic" not in cfg.MTL.TASKS:
        return found
    if not 0 <= cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE <= LARGEST_ID:
        found.append(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE must be a value of label maps, 0 to {LARGEST_ID}, got "
            f"{cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE}"
        )
    heads = {name: cls for name, cls in SEM_SEG_HEADS_REGISTRY if hasattr(cls, "task_losses")}
    head = cfg.MODEL.SEM_SEG_HEAD.NAME
    if head not in heads:
        found.append(
            f"MODEL.SEM_SEG_HEAD.NAME is {head!r}, which cannot train on the samples of its own task (it has no method "
            f"task_losses): set it to {' or '.join(map(repr, heads))}"
        )
    elif hasattr(heads[head], "check"):
        found += heads[head].check(cfg)
    return found
