"""Builders of trunks that say what is wrong with their config before data are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY

Check = Callable[[CfgNode], list[str]]  # one sentence for each mistake
Builder = TypeVar("Builder", bound=Callable[..., Any])


def checked_by(check: Check) -> Callable[[Builder], Builder]:
    """Gives a builder of a trunk its ``check``."""

    def mark(builder: Builder) -> Builder:
        vars(builder)["check"] = check
        return builder

    return mark


def trunk_check(cfg: CfgNode) -> list[str]:
    """What the builder of ``MODEL.BACKBONE.NAME`` says of the config; nothing where there is none, or it has no check.

    A name without a builder is told of when the model is built.
    """
    name = cfg.MODEL.BACKBONE.NAME
    builder = BACKBONE_REGISTRY.get(name) if name in BACKBONE_REGISTRY else None
    check: Check | None = getattr(builder, "check", None)
    return check(cfg) if check else []
