"""DeepLabV3's layers: atrous spatial pyramid pooling (ASPP) of a task's own, or what follows a shared one.

Paper: Chen, Papandreou, Schroff, Adam, "Rethinking atrous convolution for semantic image segmentation", 2017,
https://arxiv.org/abs/1706.05587, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from mtl_d2.modeling.aspp import build_aspp, with_norm
from mtl_d2.modeling.heads.map_layers import NO_ASPP, Shapes, map_layers, the_feature


class AfterASPPLayers(nn.Module):
    """A 3x3 convolution with norm and ReLU, and a 1x1 convolution: DeepLabV3's layers after its ASPP."""

    def __init__(self, feature: str, shape: ShapeSpec, width: int, channels: int, norm: str = "BN") -> None:
        """Args: name and shape of the feature; channels between the two convolutions and of the map; of ``NORMS``."""
        super().__init__()
        self.in_features, self.common_stride = (feature,), int(shape.stride or 1)
        first = nn.Conv2d(int(shape.channels or 0), width, 3, padding=1, bias=False)
        self.convolution = with_norm(nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU()), norm)
        self.predictor = nn.Conv2d(width, channels, 1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w)."""
        return self.predictor(self.convolution(features[self.in_features[0]]))


class DeepLabLayers(nn.Module):
    """ASPP, a 3x3 convolution with norm and ReLU, and a 1x1 convolution."""

    def __init__(
        self,
        feature: str,
        shape: ShapeSpec,
        width: int,
        channels: int,
        *,
        rates: Sequence[int] = (12, 24, 36),
        dropout: float = 0.5,
        norm: str = "BN",
    ) -> None:
        """Args as for ``AfterASPPLayers`` and ``build_aspp``."""
        super().__init__()
        self.in_features, self.common_stride = (feature,), int(shape.stride or 1)
        self.aspp = build_aspp(int(shape.channels or 0), width, rates, dropout, norm)
        self.after = AfterASPPLayers("aspp", ShapeSpec(channels=width, stride=shape.stride), width, channels, norm)

    @property
    def predictor(self) -> nn.Module:
        """The last convolution."""
        return self.after.predictor

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w)."""
        return self.after({"aspp": self.aspp(features[self.in_features[0]])})


def deeplab_layers(options: Any, feature: str, shape: ShapeSpec, channels: int) -> DeepLabLayers:
    """DeepLabV3's layers on one feature, as a head's node of the config has them."""
    return DeepLabLayers(
        *(feature, shape, options.CONVS_DIM, channels),
        rates=options.ASPP_RATES,
        dropout=options.ASPP_DROPOUT,
        norm=options.NORM,
    )


@map_layers("deeplabv3")
def build_deeplab_layers(options: Any, shapes: Shapes, channels: int) -> DeepLabLayers:
    """On the one feature of ``IN_FEATURES``."""
    feature = the_feature(options)
    return deeplab_layers(options, feature, shapes[feature], channels)


@map_layers("after_aspp", NO_ASPP)
def build_after_aspp_layers(options: Any, shapes: Shapes, channels: int) -> AfterASPPLayers:
    """On the one feature of ``IN_FEATURES``, such as the "aspp" of a trunk with one."""
    feature = the_feature(options)
    return AfterASPPLayers(feature, shapes[feature], options.CONVS_DIM, channels, options.NORM)
