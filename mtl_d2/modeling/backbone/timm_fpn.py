"""A network of timm under detectron2's feature pyramid."""

from __future__ import annotations

from math import log2
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import nn

from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.backbone.timm_trunk import build_trunk, trunk_mistakes
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.options import choice, declare

TOP_BLOCKS = ("", "pool", "convs")
declare(
    "MODEL.FPN",
    {
        "TOP_BLOCK": choice(
            "",
            "levels above the coarsest of a timm trunk's pyramid, made of that level: none; `pool` for one more by "
            "subsampling, as Faster R-CNN's p6; `convs` for two more by 3x3 convolutions of stride 2, as FCOS' p6, p7",
            TOP_BLOCKS,
        )
    },
)


def check(cfg: Any) -> list[str]:
    """Of the trunk, and of the maps that the pyramid stands on."""
    return gaps(cfg.MODEL.FPN.IN_FEATURES) or trunk_mistakes(cfg)


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_timm_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """The trunk of ``MODEL.TIMM`` and an FPN over its maps ``MODEL.FPN.IN_FEATURES``.

    Returns:
        FPN with features p2 ... p5, as many as there are maps in use, and those of ``MODEL.FPN.TOP_BLOCK``.

    Raises:
        TrunkError: the trunk cannot be built; the message is one line.
    """
    options = cfg.MODEL.FPN
    trunk = build_trunk(cfg, input_shape.channels, options.IN_FEATURES)
    coarsest = int(log2(trunk.output_shape()[options.IN_FEATURES[-1]].stride))
    return FPN(
        bottom_up=trunk,
        in_features=options.IN_FEATURES,
        out_channels=options.OUT_CHANNELS,
        norm=narrow_norm(options.NORM),
        top_block=_top_block(options.TOP_BLOCK, f"p{coarsest}", options.OUT_CHANNELS),
        fuse_type=options.FUSE_TYPE,
    )


def _top_block(kind: str, level: str, channels: int) -> nn.Module | None:
    """What makes further levels of ``level``."""
    if not kind:
        return None
    if kind == "convs":
        return LastLevelP6P7(channels, channels, in_feature=level)
    block = LastLevelMaxPool()
    block.in_feature = level
    return block


def gaps(names: list[str]) -> list[str]:
    """A line where ``MODEL.FPN.IN_FEATURES`` are not maps of strides that double from one to the next."""
    stages = [int(name[3:]) if name.startswith("res") and name[3:].isdigit() else -1 for name in names]
    if stages and stages[0] > 0 and stages == list(range(stages[0], stages[0] + len(stages))):
        return []
    return [
        "MODEL.FPN.IN_FEATURES must be maps of the trunk from fine to coarse without a gap, such as "
        f"['res3', 'res4', 'res5'] (strides 8, 16, 32), got {list(names)}"
    ]
