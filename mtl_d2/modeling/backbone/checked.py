"""Builders of trunks that say what is wrong with their config before data are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY

from mtl_d2.config_checks.sentences import unknown

Check = Callable[[CfgNode], list[str]]  # one sentence for each mistake
Builder = TypeVar("Builder", bound=Callable[..., Any])


def checked_by(check: Check) -> Callable[[Builder], Builder]:
    """Gives a builder of a trunk its ``check``."""

    def mark(builder: Builder) -> Builder:
        vars(builder)["check"] = check
        return builder

    return mark


def trunk_check(cfg: CfgNode) -> list[str]:
    """What the builder of ``MODEL.BACKBONE.NAME`` says of the config, if there is one and it has a check."""
    name = cfg.MODEL.BACKBONE.NAME
    if name not in BACKBONE_REGISTRY:
        return [unknown("MODEL.BACKBONE.NAME", name, tuple(known for known, _ in BACKBONE_REGISTRY))]
    check: Check | None = getattr(BACKBONE_REGISTRY.get(name), "check", None)
    return check(cfg) if check else []
