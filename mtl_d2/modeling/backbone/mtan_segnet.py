"""SegNet as the trunk of MTAN: besides its maps it holds the convolutions of the attention that all tasks share.

Paper: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019,
https://arxiv.org/abs/1803.10704, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from mtl_d2.modeling.backbone.checked import checked_by
from mtl_d2.modeling.backbone.segnet import STAGES, SegNet, check_images, normalized, outputs_of

LAST_MAPS = tuple(f"decoder{stage}" for stage in STAGES)


class MTANSegNet(SegNet):
    """A SegNet that gives all maps which masks are made for, from its first stage to one of the decoder.

    Attributes:
        attention_blocks: ``encoder1`` ... ``encoder5``, ``decoder5`` ...: what a task's attended map goes through from
            one stage to the next. The trunk itself does not use them; the layers of each task do, all the same ones.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512), until: int = 1) -> None:
        """Args: ``widths``, channels of the five stages; the last stage of the decoder, 1 ... 5."""
        super().__init__(widths, attended_maps(until))
        blocks = {f"encoder{stage}": normalized(widths[stage - 1], widths[min(stage, 4)]) for stage in STAGES}
        for stage in reversed(STAGES[until - 1 :]):
            blocks[f"decoder{stage}"] = normalized(widths[stage - 1], outputs_of(widths)[stage])
        self.attention_blocks = nn.ModuleDict(blocks)


def attended_maps(until: int) -> list[str]:
    """Names of the trunk's maps that a task's attention looks at, down to the stage ``until`` of the decoder."""
    encoder = [f"{kind}{stage}" for stage in STAGES for kind in ("first", "last")]
    return encoder + [f"{kind}{stage}" for stage in reversed(STAGES[until - 1 :]) for kind in ("unpool", "decoder")]


def check(cfg: Any) -> list[str]:
    """Where the decoder ends is to be one of its stages."""
    wanted, mistakes = cfg.MODEL.SEGNET.OUT_FEATURES, check_images(cfg)
    if len(wanted) == 1 and wanted[0] in LAST_MAPS:
        return mistakes
    return [
        *mistakes,
        "MODEL.SEGNET.OUT_FEATURES of build_mtan_segnet_backbone must be the decoder's last map alone, one of "
        f"{', '.join(LAST_MAPS)}, got {wanted!r}",
    ]


@BACKBONE_REGISTRY.register()
@checked_by(check)
def build_mtan_segnet_backbone(cfg: Any, input_shape: ShapeSpec) -> MTANSegNet:
    """The SegNet of ``MODEL.SEGNET``, for heads with LAYERS "mtan"; its ``OUT_FEATURES`` say where the decoder ends."""
    return MTANSegNet(cfg.MODEL.SEGNET.WIDTHS, int(cfg.MODEL.SEGNET.OUT_FEATURES[0][-1]))
