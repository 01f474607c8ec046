"""MTAN on a SegNet: each task attends to what it needs of every map of the trunk.

Paper: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019,
https://arxiv.org/abs/1803.10704, section 3, eqs. 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.modeling.backbone.mtan_segnet import LAST_MAPS, attended_maps
from mtl_d2.modeling.backbone.segnet import STAGES, initialized, outputs_of
from mtl_d2.modeling.heads.attention import AttendingLayers, attention, beside
from mtl_d2.modeling.heads.map_layers import BATCH_NORM_ALONE, Shapes, SplitLayers, map_layers, the_feature


class MTANLayers(AttendingLayers):
    """Masks of a task for the last map of each stage of a SegNet; a 3x3 and a 1x1 convolution after the last one.

    Encoder, with p_j the trunk's map after the first convolution of stage j, u_j after its last, a_0 left out:
    a_j = max-pooled f_j(mask_j([p_j, a_(j-1)]) * u_j). Decoder, with p_j the unpooled map, u_j the stage's last, and
    b_j = g_j(a_(j+1) upsampled): a_j = mask_j([p_j, b_j]) * u_j. The f_j and g_j are the trunk's, for all tasks.

    Differs from: the authors' code in nothing but, for a task of depth, the small initial weights of its predictor.
    """

    def __init__(self, widths: Sequence[int], until: int, width: int, channels: int) -> None:
        """Args: of the trunk's stages; its decoder's last stage; channels between the last convolutions, of the map."""
        super().__init__()
        self.until, self.last = until, f"decoder{until}"
        self.in_features, self.common_stride = tuple(attended_maps(until)), 2 ** (until - 1)
        outputs = outputs_of(widths)
        encoder = {stage: (widths[stage - 1] * (1 if stage == 1 else 2), widths[stage - 1]) for stage in STAGES}
        decoder = {stage: (widths[stage - 1] + outputs[stage], outputs[stage]) for stage in STAGES[until - 1 :]}
        self.encoder, self.decoder = (
            nn.ModuleDict({str(stage): initialized(attention(seen, n, n)) for stage, (seen, n) in sizes.items()})
            for sizes in (encoder, decoder)
        )
        shape = ShapeSpec(channels=outputs[until], stride=self.common_stride)
        self.output = initialized(SplitLayers(self.last, shape, width, channels))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w)."""
        x: Tensor | None = None
        for stage in STAGES:
            mask = self.encoder[str(stage)](beside(features[f"first{stage}"], x))
            x = F.max_pool2d(self.blocks(f"encoder{stage}", mask * features[f"last{stage}"]), 2)
        for stage in reversed(STAGES[self.until - 1 :]):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)  # type: ignore[arg-type]
            x = self.blocks(f"decoder{stage}", x)
            mask = self.decoder[str(stage)](beside(features[f"unpool{stage}"], x))
            x = mask * features[f"decoder{stage}"]
        return self.output({self.last: x})  # type: ignore[dict-item]


@map_layers("mtan", BATCH_NORM_ALONE)
def build_mtan_layers(options: Any, shapes: Shapes, channels: int) -> MTANLayers:
    """Attention as far as the map of ``IN_FEATURES``, the last one of the trunk's decoder.

    Raises:
        ValueError: the trunk does not give what is attended to.
    """
    feature = the_feature(options)
    if feature not in LAST_MAPS or set(attended_maps(int(feature[-1]))) - shapes.keys():
        raise ValueError(
            "LAYERS 'mtan' needs MODEL.BACKBONE.NAME 'build_mtan_segnet_backbone', and in IN_FEATURES the same map as "
            f"in MODEL.SEGNET.OUT_FEATURES, got IN_FEATURES {[feature]} of {', '.join(shapes)}"
        )
    widths = [int(shapes[f"first{stage}"].channels or 0) for stage in STAGES]
    return MTANLayers(widths, int(feature[-1]), options.CONVS_DIM, channels)
