"""Atrous spatial pyramid pooling (ASPP): convolutions of several dilations, and the mean of the map, side by side.

Paper: Chen, Papandreou, Schroff, Adam, "Rethinking atrous convolution for semantic image segmentation", 2017,
https://arxiv.org/abs/1706.05587, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from mtl_d2.modeling.backbone.norms import MOST_GROUPS, NORMS
from mtl_d2.options import Option, number

RATES = Option(
    (12, 24, 36),
    "Dilations of its 3x3 convolutions.",
    "a list of whole numbers >= 1, one at least",
    lambda value: (
        len(value) > 0 and all(isinstance(rate, int) and not isinstance(rate, bool) and rate >= 1 for rate in value)
    ),
)
DROPOUT = number(0.5, "Share of the channels' values that are left out after them, in training.", least=0, below=1)


def _alone(norm: Any, x: Tensor) -> Tensor:
    """``x`` (1, C, 1, 1), which has no statistics of its own, by the running ones, where torch refuses."""
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


class PooledNorm(nn.BatchNorm2d):
    """Batch norm of one value for each image and channel; that of a single image is by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 1, 1) of the same shape."""
        return _alone(self, x) if self.training and x.numel() == self.num_features else super().forward(x)


class PooledSyncNorm(nn.SyncBatchNorm):
    """The same of torch's SyncBN, for the only image of the only process."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 1, 1) of the same shape."""
        alone = self.training and x.numel() == self.num_features and comm.get_world_size() == 1
        return _alone(self, x) if alone else super().forward(x)


class PooledNaiveSyncNorm(NaiveSyncBatchNorm):
    """The same of detectron2's."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 1, 1) of the same shape."""
        alone = self.training and x.numel() == self.num_features and comm.get_world_size() == 1
        return _alone(self, x) if alone else super().forward(x)


def build_aspp(inputs: int, width: int, rates: Sequence[int], dropout: float, norm: str = "BN") -> ASPP:
    """An ASPP of torchvision's layers.

    Args:
        inputs: channels of the map.
        width: channels of each of its branches and of what it gives.
        rates: dilations.
        dropout: in [0, 1).
        norm: a key of ``NORMS``.

    Raises:
        ValueError: there is no such norm, or it would take from the pooled map all that it says.
    """
    if norm == "GN" and width <= MOST_GROUPS:
        raise ValueError(
            f"an ASPP with NORM 'GN' needs more than {MOST_GROUPS} channels, got {width}: each would be a group of its "
            "own, and the mean of the map 0; take more, or NORM 'BN'"
        )
    layers = ASPP(inputs, list(rates), width)
    pooling = layers.convs[-1]
    pooling[2] = PooledNorm(width)
    layers.project[-1].p = dropout
    layers = with_norm(layers, norm)
    if isinstance(pooling[2], nn.SyncBatchNorm):
        pooling[2] = PooledSyncNorm(width)
    elif isinstance(pooling[2], NaiveSyncBatchNorm):
        pooling[2] = PooledNaiveSyncNorm(width, stats_mode=pooling[2]._stats_mode)
    return layers


def with_norm(layers: nn.Module, norm: str) -> Any:
    """``layers`` with the norm of a head's config in the place of their batch norms.

    Raises:
        ValueError: there is no such norm.
    """
    if norm not in NORMS:
        raise ValueError(f"NORM of layers of DeepLabV3 must be one of {', '.join(map(repr, NORMS))}, got {norm!r}")
    return NORMS[norm](layers)
