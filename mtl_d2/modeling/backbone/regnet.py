"""detectron2's RegNet under a feature pyramid, built from a config: trunks small enough to train on a CPU."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, RegNet
from detectron2.modeling.backbone.regnet import ResBottleneckBlock, SimpleStem

from mtl_d2.modeling.norm import narrow_norm


@BACKBONE_REGISTRY.register()
def build_regnet_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """A RegNetX and an FPN over the stages of ``MODEL.FPN.IN_FEATURES`` (res2 is stride 4), without extra levels.

    Returns:
        FPN with features p2 ... p5, as many as there are stages in use.
    """
    options = cfg.MODEL.REGNETS
    stages = {f"res{k + 1}": f"s{k}" for k in range(1, 5)}
    bottom_up = RegNet(
        stem_class=SimpleStem,
        stem_width=options.STEM_WIDTH,
        block_class=ResBottleneckBlock,
        depth=options.DEPTH,
        w_a=options.W_A,
        w_0=options.W_0,
        w_m=options.W_M,
        group_width=options.GROUP_WIDTH,
        norm=narrow_norm(options.NORM),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        out_features=[stages[name] for name in cfg.MODEL.FPN.IN_FEATURES],
    )
    return FPN(
        bottom_up=bottom_up,
        in_features=[stages[name] for name in cfg.MODEL.FPN.IN_FEATURES],
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=narrow_norm(cfg.MODEL.FPN.NORM),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
