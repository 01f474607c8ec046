"""MTAN on a ResNet: each task attends to the last block of every stage, and has DeepLabV3's layers after that.

Paper: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019,
https://arxiv.org/abs/1803.10704; the network is that of the authors' code (``MTANDeepLabv3``), not in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.modeling.aspp import with_norm
from mtl_d2.modeling.backbone.mtan_resnet import ATTENDED, STAGES
from mtl_d2.modeling.heads.attention import AttendingLayers, attention, beside
from mtl_d2.modeling.heads.deeplab_layers import deeplab_layers
from mtl_d2.modeling.heads.map_layers import Shapes, map_layers, the_feature

LAST = f"stage{STAGES[-1]}"


class MTANDeepLabLayers(AttendingLayers):
    """Masks of a task for the last map of each stage of a ResNet; DeepLabV3's layers on the last one.

    With p_j the trunk's map before the last block of stage j, u_j after it, a_0 left out: a_j = f_j(mask_j([p_j,
    a_(j-1)]) * u_j), max-pooled where the next stage has twice the stride. The bottlenecks f_1 ... f_3 are the trunk's,
    for all tasks; f_4 is none.
    """

    def __init__(self, shapes: Mapping[str, ShapeSpec], output: nn.Module, norm: str = "BN") -> None:
        """Args: of the trunk's features; ``output``, layers on the feature "attended"; a key of ``NORMS``."""
        super().__init__()
        self.in_features, self.common_stride = ATTENDED, output.common_stride
        widths = {stage: int(shapes[f"stage{stage}"].channels or 0) for stage in STAGES}
        masks = {str(stage): attention(n * (1 if stage == 1 else 2), n // 4, n) for stage, n in widths.items()}
        self.masks = with_norm(nn.ModuleDict(masks), norm)
        strides = [int(shapes[f"stage{stage}"].stride or 1) for stage in STAGES]
        self.pooling = dict(zip(STAGES, [after // before for before, after in pairwise(strides)], strict=False))
        self.output = output

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w)."""
        x: Tensor | None = None
        for stage in STAGES:
            mask = self.masks[str(stage)](beside(features[f"before{stage}"], x))
            x = mask * features[f"stage{stage}"]
            if stage != STAGES[-1]:
                x = self.blocks(f"stage{stage}", x)
                x = F.max_pool2d(x, self.pooling[stage]) if self.pooling[stage] > 1 else x
        return self.output({"attended": x})


@map_layers("mtan_deeplabv3")
def build_mtan_deeplab_layers(options: Any, shapes: Shapes, channels: int) -> MTANDeepLabLayers:
    """Attention to all stages of the trunk; ``IN_FEATURES`` is the last one.

    Raises:
        ValueError: the trunk does not give what is attended to.
    """
    if the_feature(options) != LAST or set(ATTENDED) - shapes.keys():
        raise ValueError(
            f"LAYERS 'mtan_deeplabv3' needs MODEL.BACKBONE.NAME 'build_mtan_resnet_backbone' and IN_FEATURES {[LAST]}, "
            f"got {list(options.IN_FEATURES)} of {', '.join(shapes)}"
        )
    return MTANDeepLabLayers(shapes, deeplab_layers(options, "attended", shapes[LAST], channels), options.NORM)
