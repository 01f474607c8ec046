"""The dense heads of the achievement paper: all levels of a pyramid at the size of the finest, and two convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.modeling.bottleneck import norm_layer, output_bottleneck, separable_convolution
from mtl_d2.modeling.heads.map_layers import NO_ASPP, map_layers


class BiFPNLayers(nn.Module):
    """A depthwise separable convolution of all levels together, and an inverted bottleneck that predicts.

    Paper: the dense heads of Yun, Cho, Achievement-based training progress balancing for multi-task learning, ICCV
        2023: three levels of 64 channels, 192 -> 64 -> the task's.
    Differs from: nothing with the norm "BN", which there also stands behind the last convolution; see
        ``output_bottleneck``.
    """

    def __init__(self, shapes: Mapping[str, ShapeSpec], width: int, channels: int, norm: str) -> None:
        """Args: of the levels by name; channels between the two; of the map; ``norm`` by detectron2's names."""
        super().__init__()
        self.in_features = tuple(sorted(shapes, key=lambda name: shapes[name].stride or 0))
        self.common_stride = int(shapes[self.in_features[0]].stride or 1)
        layer, together = norm_layer(norm), sum(int(shape.channels or 0) for shape in shapes.values())
        self.fusion = separable_convolution(together, width, layer)
        self.bottleneck = output_bottleneck(width, channels, layer)

    @property
    def predictor(self) -> nn.Module:
        """The last convolution."""
        return cast(nn.Sequential, self.bottleneck[-1])[0]

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w) at the size of the finest level."""
        finest, *others = (features[name] for name in self.in_features)
        resized = [F.interpolate(one, size=finest.shape[-2:], mode="bilinear", align_corners=False) for one in others]
        return self.bottleneck(self.fusion(torch.cat([finest, *resized], dim=1)))


@map_layers("bifpn", NO_ASPP)
def build_bifpn_layers(options: Any, shapes: Mapping[str, ShapeSpec], channels: int) -> BiFPNLayers:
    """On the levels ``IN_FEATURES``; ``COMMON_STRIDE`` is that of the finest."""
    return BiFPNLayers({name: shapes[name] for name in options.IN_FEATURES}, options.CONVS_DIM, channels, options.NORM)
