"""Cheap convolutions of mobile networks: the inverted bottleneck (MBConv) and the depthwise separable one (DSConv)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from detectron2.layers import get_norm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import Conv2dNormActivation

from mtl_d2.modeling.norm import narrow_norm

EXPANSION = 2  # of Samsung's networks; MobileNetV2 has 6
Norm = Callable[[int], nn.Module] | None


def norm_layer(name: str) -> Norm:
    """What makes the norm of as many channels, by the name a config gives; None for none, where a bias stands in."""
    return partial(get_norm, narrow_norm(name)) if name else None


def inverted_bottleneck(channels: int, out_channels: int, norm: Norm, stride: int = 1) -> nn.Sequential:
    """1x1 convolution to ``EXPANSION`` times the channels, depthwise 3x3, 1x1 to ``out_channels``, without shortcut.

    Paper: Sandler et al., MobileNetV2: Inverted residuals and linear bottlenecks, CVPR 2018,
        https://arxiv.org/abs/1801.04381, figure 4d; a ReLU6 behind the first two, none behind the last.
    Differs from: the paper, which adds the input where stride and channels allow; here they never do.
    """
    return _bottleneck(channels, out_channels, norm, norm, stride)


def output_bottleneck(channels: int, out_channels: int, norm: Norm, bias: float = 0.0) -> nn.Sequential:
    """An ``inverted_bottleneck`` that predicts, with what its last layer adds at first, ``bias``.

    Behind its last convolution is a batch norm, or none: group norm and its like take from each image its own mean and
    size, so that no depth and no score could be told from another image's.
    """
    mixes_samples = norm is not None and isinstance(norm(channels), _BatchNorm)
    layers = _bottleneck(channels, out_channels, norm, norm if mixes_samples else None, 1)
    last = cast(nn.Sequential, layers[-1])[-1]
    nn.init.constant_(cast(Tensor, last.bias), bias)
    return layers


def _bottleneck(channels: int, out_channels: int, norm: Norm, last_norm: Norm, stride: int) -> nn.Sequential:
    wide = channels * EXPANSION
    layer = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    return nn.Sequential(
        layer(channels, wide, 1),
        layer(wide, wide, 3, stride, groups=wide),
        Conv2dNormActivation(wide, out_channels, 1, norm_layer=last_norm, activation_layer=None),
    )


def separable_convolution(channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """Depthwise 3x3 convolution, 1x1 convolution, norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        Conv2dNormActivation(channels, out_channels, 1, norm_layer=norm, activation_layer=nn.ReLU6),
    )
