"""Atrous spatial pyramid pooling (ASPP): convolutions of several dilations, and the mean of the map, side by side.

Paper: Chen, Papandreou, Schroff, Adam, "Rethinking atrous convolution for semantic image segmentation", 2017,
https://arxiv.org/abs/1706.05587, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from mtl_d2.modeling.backbone.norms import NORMS
from mtl_d2.options import Option, number

RATES = Option(
    (12, 24, 36),
    "Dilations of its 3x3 convolutions.",
    "a list of whole numbers >= 1, one at least",
    lambda value: len(value) > 0 and all(isinstance(rate, int) and rate >= 1 for rate in value),
)
DROPOUT = number(0.5, "Share of the channels' values that are left out after them, in training.", least=0, below=1)


class PooledNorm(nn.BatchNorm2d):
    """Batch norm of one value for each image and channel.

    A single image has no statistics of its own in training: the running ones are taken, where torch refuses.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 1, 1) of the same shape."""
        if self.training and x.numel() == self.num_features:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def build_aspp(inputs: int, width: int, rates: Sequence[int], dropout: float, norm: str = "BN") -> ASPP:
    """An ASPP of torchvision's layers.

    Args:
        inputs: channels of the map.
        width: channels of each of its branches and of what it gives.
        rates: dilations.
        dropout: in [0, 1).
        norm: a key of ``NORMS``.

    Raises:
        ValueError: there is no such norm.
    """
    layers = ASPP(inputs, list(rates), width)
    pooling = layers.convs[-1]
    pooling[2] = PooledNorm(width)
    layers.project[-1].p = dropout
    return with_norm(layers, norm)


def with_norm(layers: nn.Module, norm: str) -> Any:
    """``layers`` with the norm of a head's config in the place of their batch norms.

    Raises:
        ValueError: there is no such norm.
    """
    if norm not in NORMS:
        raise ValueError(f"NORM of layers of DeepLabV3 must be one of {', '.join(map(repr, NORMS))}, got {norm!r}")
    return NORMS[norm](layers)
