"""Losses of depth and of surface normals over labelled pixels, as sums and what they are to be divided by.

Outputs and targets are (N, C, H, W) in float32 or float64, ``labelled`` (N, H, W) bool. An output of a pixel without a
label has no gradient, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SHORTEST = 1e-4  # length below which an output is no direction


@dataclass(frozen=True)
class DenseLoss:
    """A mean over pixels, or over images.

    Attributes:
        terms: of outputs, targets and ``labelled``, the sum of the loss over each image (N,).
        counts: of ``labelled``, how much each image (N,) counts in the mean.
    """

    terms: Callable[[Tensor, Tensor, Tensor], Tensor]
    counts: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """What makes depth of the output of the last layer.

    Attributes:
        depth: of the output.
        log: the depth's natural logarithm, of the output.
    """

    depth: Callable[[Tensor], Tensor]
    log: Callable[[Tensor], Tensor]


def _log_softplus(x: Tensor) -> Tensor:
    """log(log(1 + e^x)), which is x for x far below 0, where the inner logarithm is 0 in floating point."""
    low = x < -15
    return torch.where(low, x, F.softplus(x.where(~low, torch.zeros_like(x))).log())


# "linear" is what the published heads have; its outputs may be negative, which the logarithm cannot take.
ACTIVATIONS = {
    "linear": Activation(lambda x: x, torch.log),
    "exp": Activation(torch.exp, lambda x: x),
    "softplus": Activation(F.softplus, _log_softplus),
}
POSITIVE = ("exp", "softplus")


def _pixels(labelled: Tensor) -> Tensor:
    return labelled.flatten(1).sum(1)


def _images(labelled: Tensor) -> Tensor:
    return labelled.flatten(1).any(1)


def _sum_of(difference: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The sum over labelled pixels of the mean over channels."""

    def terms(values: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        return (difference(values - target).mean(1) * labelled).flatten(1).sum(1)

    return terms


_L1, _MSE = _sum_of(torch.abs), _sum_of(torch.square)


def _scale_invariant(log_depth: Tensor, target: Tensor, labelled: Tensor, share: float) -> Tensor:
    difference = (log_depth - target.log())[:, 0] * labelled  # d of the paper
    pixels = _pixels(labelled).clamp(min=1)
    mean, square = (part.flatten(1).sum(1) / pixels for part in (difference, difference**2))
    return square - share * mean**2


def depth_loss(name: str, activation: Activation, share: float = 0.5) -> DenseLoss:
    """A loss of outputs (N, 1, H, W) of the last layer against depth.

    Args:
        name: "l1" or "mse", a mean over pixels; "si_log", the scale-invariant error in the logarithm,
            1/n sum d^2 - share / n^2 (sum d)^2 with d = log depth - log target, a mean over images: Eigen, Puhrsch,
            Fergus, "Depth map prediction from a single image using a multi-scale deep network", NeurIPS 2014,
            https://arxiv.org/abs/1406.2283, eq. 4.
        activation: of the last layer; a positive one for "si_log".
        share: lambda of the paper, in [0, 1]: 0.5 there, 1 knows nothing of the scale.
    """

    def terms(output: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        output = torch.where(labelled[:, None], output, 0.0)
        target = torch.where(labelled[:, None], target, 1.0)
        if name == "si_log":
            return _scale_invariant(activation.log(output), target, labelled, share)
        return {"l1": _L1, "mse": _MSE}[name](activation.depth(output), target, labelled)

    return DenseLoss(terms, _images if name == "si_log" else _pixels)


DEPTH_LOSSES = ("l1", "mse", "si_log")


def _one_minus_cosine(units: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    return ((1 - (units * target).sum(1)) * labelled).flatten(1).sum(1)


_OF_UNITS = {"cosine": _one_minus_cosine, "l1": _L1, "mse": _MSE}
NORMALS_LOSSES = tuple(_OF_UNITS)


def normals_loss(name: str) -> DenseLoss:
    """A loss of outputs (N, 3, H, W), scaled to length 1, against unit vectors, a mean over pixels.

    Args:
        name: "cosine" for 1 - cosine; "l1" and "mse", of the three components in the mean.
    """

    def terms(output: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        units = unit_vectors(torch.where(labelled[:, None], output, 1.0))
        return _OF_UNITS[name](units, target, labelled)

    return DenseLoss(terms, _pixels)


def unit_vectors(output: Tensor) -> Tensor:
    """(N, 3, H, W) scaled to length 1; what is shorter than ``SHORTEST`` stays shorter."""
    return F.normalize(output, dim=1, eps=SHORTEST)
