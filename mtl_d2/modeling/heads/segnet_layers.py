"""A SegNet decoder of a task's own, on the encoder that all tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from mtl_d2.modeling.backbone.segnet import STAGES, SegNetDecoder
from mtl_d2.modeling.heads.map_layers import BATCH_NORM_ALONE, Shapes, SplitLayers, map_layers

STRIDES = tuple(2 ** (stage - 1) for stage in STAGES)


class SegNetLayers(nn.Module):
    """Unpools until the map has the stride asked for; a 3x3 and a 1x1 convolution make the output of it."""

    def __init__(self, widths: Sequence[int], stride: int, width: int, channels: int) -> None:
        """Args: of the encoder's stages; of the map, 1 to 16; channels between the two convolutions and of the map."""
        super().__init__()
        until = STRIDES.index(stride) + 1
        self.in_features = ("pool5", *(f"indices{stage}" for stage in STAGES[until - 1 :]))
        self.common_stride = stride
        self.decoder = SegNetDecoder(widths, until)
        self.last = f"decoder{until}"
        shape = ShapeSpec(channels=self.decoder.channels, stride=stride)
        self.output = SplitLayers(self.last, shape, width, channels)

    @property
    def predictor(self) -> nn.Module:
        """The last convolution."""
        return self.output.predictor

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The map (N, C, h, w)."""
        return self.output(self.decoder(features))


@map_layers("segnet", BATCH_NORM_ALONE)
def build_segnet_layers(options: Any, shapes: Shapes, channels: int) -> SegNetLayers:
    """On ``pool5`` and the indices of the stages that are unpooled, and of one more, whose channels the last map has.

    Raises:
        ValueError: the trunk does not give them, or there is no such stride.
    """
    if options.COMMON_STRIDE not in STRIDES:
        raise ValueError(f"COMMON_STRIDE of LAYERS 'segnet' must be one of {STRIDES}, got {options.COMMON_STRIDE}")
    stages = STAGES[max(STRIDES.index(options.COMMON_STRIDE) - 1, 0) :]  # the first gives its width alone
    needed = ["pool5", *(f"indices{stage}" for stage in stages)]
    missing = [name for name in needed if name not in shapes]
    if missing or list(options.IN_FEATURES) != ["pool5"]:
        raise ValueError(
            f"LAYERS 'segnet' with COMMON_STRIDE {options.COMMON_STRIDE} needs IN_FEATURES ['pool5'] and a SegNet "
            f"whose MODEL.SEGNET.OUT_FEATURES are {needed}, got {list(options.IN_FEATURES)} of {list(shapes)}"
        )
    widths = [int(shapes[f"indices{stage}"].channels or 0) for stage in stages]
    widths = [widths[0]] * (len(STAGES) - len(stages)) + widths
    return SegNetLayers(widths, options.COMMON_STRIDE, options.CONVS_DIM, channels)
