"""Keys of earlier versions, which the configs that runs left in their folders and checkpoints have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

RENAMED: Mapping[str, str] = {"MTL.DATA.PER_TASK": "MTL.DATA.PER_DATASET"}
GONE = ("MODEL.REGNETS",)  # nodes of what timm has: MODEL.TIMM.NAME "regnetx_002"


def accept_earlier_keys(cfg: CfgNode) -> None:
    """Has files merged into ``cfg`` hold them; yacs warns that they are passed over."""
    for key in (*RENAMED, *GONE):
        cfg.register_deprecated_key(key)


def is_earlier(key: str) -> bool:
    """Whether it is the dotted path of a key that there is no longer."""
    return key in RENAMED or key.startswith(tuple(f"{node}." for node in GONE))


def by_present_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config by their dotted paths, by what those are called now, without those that are gone."""
    return {RENAMED.get(key, key): value for key, value in values.items() if key in RENAMED or not is_earlier(key)}
