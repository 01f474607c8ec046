"""Plain feed-forward layers from words such as "conv 10 9"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import nn

Shape = tuple[int, ...]  # of one sample: (C, H, W), or (width,)

KINDS = "'conv FILTERS KERNEL [STRIDE]', 'pool KERNEL' or 'linear WIDTH'"
_ARGUMENTS = {"conv": (2, 3), "pool": (1,), "linear": (1,)}


class LayerError(ValueError):
    """A layer that cannot be built; the message names its place."""


@dataclass(frozen=True)
class Style:
    """What the layers have in common.

    Attributes:
        bias: convolutions have one.
        norm: "BN" for batch norm after convolutions, or "".
        dropout: share of outputs that is dropped, in [0, 1).
    """

    bias: bool
    norm: str
    dropout: float


def build_layers(words: Sequence[str], shape: Shape, style: Style, key: str = "layers") -> tuple[nn.Sequential, Shape]:
    """The layers and the shape of what they give.

    Args:
        words: one for each layer, as in ``KINDS``.
        shape: of their input.
        style: what they have in common.
        key: what the list is called in an error.

    Raises:
        LayerError: a layer is none of ``KINDS``, or what reaches it is too small or has been flattened.
    """
    layers = nn.Sequential()
    for word in words:
        kind, sizes = _parse(word, key)
        if kind == "linear":
            if len(shape) > 1:
                layers.append(nn.Flatten())
            layers.append(nn.Linear(prod(shape), sizes[0]))
            shape = (sizes[0],)
        else:
            shape = _after(kind, sizes, shape, f"{key}: {word!r}", layers, style)
        if kind != "pool":
            layers.append(nn.ReLU())
            if style.dropout > 0:
                layers.append(nn.Dropout(style.dropout))
    return layers, shape


def _parse(word: str, key: str) -> tuple[str, list[int]]:
    kind, *sizes = str(word).split() or [""]
    fine = len(sizes) in _ARGUMENTS.get(kind, ()) and all(s.isdigit() and int(s) > 0 for s in sizes)
    if not fine:
        raise LayerError(f"{key}: a layer is {KINDS} with integers >= 1, got {word!r}")
    return kind, [int(s) for s in sizes]


def _after(kind: str, sizes: list[int], shape: Shape, place: str, layers: nn.Sequential, style: Style) -> Shape:
    """Appends a convolution or a pooling; returns the shape of what it gives."""
    if len(shape) != 3:
        raise LayerError(f"{place} needs an image, but a linear layer came before: change their order")
    channels, height, width = shape
    if kind == "conv":
        filters, kernel, stride = sizes[0], sizes[1], (sizes[2:] or [1])[0]
        layers.append(nn.Conv2d(channels, filters, kernel, stride, bias=style.bias))
        if style.norm:
            layers.append(nn.BatchNorm2d(filters))
    else:
        filters, kernel, stride = channels, sizes[0], sizes[0]
        # The maximum of what a ReLU gives is the ReLU of the maximum, which has fewer numbers to look at.
        before_relu = len(layers) > 0 and isinstance(layers[-1], nn.ReLU)
        layers.insert(len(layers) - before_relu, nn.MaxPool2d(kernel))
    if min(height, width) < kernel:
        raise LayerError(f"{place} gets {height} x {width} pixels, fewer than its kernel: take layers out before it")
    return filters, (height - kernel) // stride + 1, (width - kernel) // stride + 1
