"""The trunk of the achievement paper's VOC + NYU setup: EfficientNetV2-S under a BiFPN of sums."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY

from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.backbone.sum_bifpn import SumBiFPN
from mtl_d2.modeling.backbone.timm_fpn import gaps
from mtl_d2.modeling.backbone.torchvision_efficientnet import build_efficientnet, efficientnet_mistakes


def check(cfg: Any) -> list[str]:
    """Of the trunk, and of keys of ``MODEL.BIFPN`` that this pyramid does not have."""
    names, options = cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.BIFPN
    mistakes = [
        f"MODEL.BIFPN.{key} must be {needed!r} for build_efficientnet_bifpn_backbone, {why}; got {options[key]!r}"
        for key, needed, why in (
            ("LEVELS", len(names), "which has the levels of MODEL.FPN.IN_FEATURES"),
            ("FUSION", "sum", "which has no weights"),
        )
        if options[key] != needed
    ]
    return mistakes + (gaps(names) or efficientnet_mistakes(cfg, names))


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_efficientnet_bifpn_backbone(cfg: Any, input_shape: ShapeSpec) -> SumBiFPN:
    """The trunk of ``MODEL.EFFICIENTNET`` and a ``SumBiFPN`` over its maps ``MODEL.FPN.IN_FEATURES``.

    Raises:
        TrunkError: the trunk cannot be built; the message is one line.
    """
    names, options = cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.BIFPN
    return SumBiFPN(
        build_efficientnet(cfg, input_shape.channels, names),
        names,
        channels=options.OUT_CHANNELS,
        repeats=options.REPEATS,
        norm=options.NORM,
    )
