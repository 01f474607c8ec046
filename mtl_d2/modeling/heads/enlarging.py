"""How heads bring scores to the size of the padded images, for any of their channels."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from mtl_d2.modeling.heads.map_layers import at_image_size


class Enlarging:
    """As detectron2's ``SemSegFPNHead`` does it in evaluation: in the precision that the layers have."""

    common_stride: int

    def enlarged(self, output: Tensor) -> Tensor:
        """(N, K, h, w) of the layers to (N, K, H, W)."""
        return F.interpolate(output, scale_factor=self.common_stride, mode="bilinear", align_corners=False)


class EnlargingInFloat:
    """In float32 at least."""

    common_stride: int
    layers: Any

    def forward(self, features: dict[str, Tensor], targets: None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores at the size of the padded images, and no loss, as detectron2's head has it in evaluation."""
        return self.enlarged(self.layers(features)), {}

    def enlarged(self, output: Tensor) -> Tensor:
        """(N, K, h, w) of the layers to (N, K, H, W)."""
        return at_image_size(output, self.common_stride)
