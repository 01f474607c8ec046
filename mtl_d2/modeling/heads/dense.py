"""Depth and surface normals on a feature pyramid: the layers of detectron2's semantic head, with numbers for scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_d2.data.dense_geometry import DEPTH_SCALINGS
from mtl_d2.modeling.heads.dense_losses import ACTIVATIONS, DenseLoss, depth_loss, normals_loss, unit_vectors
from mtl_d2.modeling.heads.map_head import MapHead
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.modeling.precision import not_half
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Size


class DenseHead(SemSegFPNHead):
    """Layers, loss and predictions of some numbers for each pixel; a label that is 0 in all of them is none.

    Attributes:
        loss_keys: names of the terms of its loss; there is one.
    """

    loss_keys: ClassVar[tuple[str, ...]]

    def __init__(self, input_shape: Mapping[str, ShapeSpec], channels: int, loss: DenseLoss, **layers: Any) -> None:
        """Args: of the pyramid's levels; numbers for each pixel; the loss; ``layers`` as ``SemSegFPNHead`` has them."""
        super().__init__(dict(input_shape), num_classes=channels, ignore_value=0, **layers)
        self.loss = loss

    def task_losses(
        self, features: dict[str, Tensor], targets: list[Tensor], reduction: Reduction, device: torch.device
    ) -> dict[str, Tensor]:
        """The loss over the labelled pixels, or images, of these samples in all processes.

        Args:
            features: by name, each (N, C, Hi, Wi).
            targets: N maps (H, W) or (C, H, W); may be smaller than the padded image.
            reduction: sums pixels or images over processes.
            device: where the count of a process without samples lives.
        """
        if not targets:
            reduction.count(torch.zeros((), dtype=torch.float64, device=device))
            return {}
        output = self.outputs(features)
        target = torch.zeros_like(output)  # (N, C, H, W)
        for padded, unpadded in zip(target, targets, strict=True):
            padded[:, : unpadded.shape[-2], : unpadded.shape[-1]] = unpadded
        labelled = (target != 0).any(1)
        count = reduction.count(self.loss.counts(labelled).sum().double()).clamp(min=1e-6).to(output.dtype)
        return {self.loss_keys[0]: self.loss.terms(output, target, labelled).sum() / count * self.loss_weight}

    def outputs(self, features: dict[str, Tensor]) -> Tensor:
        """(N, C, H, W) of the last layer, at the size of the padded images, in float32 at least."""
        output = not_half(self.layers(features))
        return F.interpolate(output, scale_factor=self.common_stride, mode="bilinear", align_corners=False)

    def forward(self, features: dict[str, Tensor], targets: None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The predictions at the size of the padded images, and no loss, as detectron2's head has it in evaluation."""
        return self.values(self.outputs(features)), {}

    def values(self, output: Tensor) -> Tensor:
        """Predictions of what the last layer gives."""
        raise NotImplementedError

    def resized(self, values: Tensor, of_image: Size, size: Size) -> Tensor:
        """The prediction for an image as it is stored.

        Args:
            values: (C, H, W), of the padded image.
            of_image: height and width of the image as the network sees it, without padding.
            size: height and width as stored.
        """
        return sem_seg_postprocess(values, of_image, *size)


def _layers(options: Any, shapes: Mapping[str, ShapeSpec]) -> dict[str, Any]:
    """Arguments of ``SemSegFPNHead`` from a head's node of the config."""
    return {
        "input_shape": {name: shapes[name] for name in options.IN_FEATURES},
        "conv_dims": options.CONVS_DIM,
        "common_stride": options.COMMON_STRIDE,
        "norm": narrow_norm(options.NORM),
        "loss_weight": options.LOSS_WEIGHT,
    }


class DepthHead(DenseHead):
    """Depth, or disparity, of each pixel, in the unit of its labels."""

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_depth",)

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        loss: str = "l1",
        activation: str = "linear",
        si_lambda: float = 0.5,
        scaling: str = "none",
        **layers: Any,
    ) -> None:
        """Args as ``depth_loss`` has them, and those of ``DenseHead``.

        Args:
            input_shape: of the pyramid's levels.
            loss: a name of ``DEPTH_LOSSES``.
            activation: a key of ``ACTIVATIONS``.
            si_lambda: of "si_log".
            scaling: a key of ``DEPTH_SCALINGS``: what was done to the labels where their image was magnified.
            **layers: of ``DenseHead``.

        Raises:
            ValueError: the logarithm of depth is wanted, which the activation does not keep positive.
        """
        if loss == "si_log" and activation == "linear":
            raise ValueError("the loss 'si_log' needs the activation 'exp' or 'softplus': others give negative depth")
        super().__init__(input_shape, 1, depth_loss(loss, ACTIVATIONS[activation], si_lambda), **layers)
        self.activation, self.scaling = ACTIVATIONS[activation], DEPTH_SCALINGS[scaling]
        nn.init.normal_(self.predictor.weight, std=0.01)  # else depths begin anywhere, those of "exp" at e^10

    @classmethod
    def from_config(cls, cfg: Any, shapes: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MODEL.DEPTH_HEAD``."""
        options = cfg.MODEL.DEPTH_HEAD
        loss_options = {"loss": options.LOSS, "activation": options.ACTIVATION, "si_lambda": options.SI_LAMBDA}
        return {**_layers(options, shapes), **loss_options, "scaling": options.SCALING}

    def values(self, output: Tensor) -> Tensor:
        """(N, 1, H, W)."""
        return self.activation.depth(output)

    def resized(self, values: Tensor, of_image: Size, size: Size) -> Tensor:
        """(H, W), with the scaling of depth by the size of its image undone."""
        magnification = sqrt(of_image[0] * of_image[1] / (size[0] * size[1]))
        return super().resized(values, of_image, size)[0] / self.scaling(magnification)


class NormalsHead(DenseHead):
    """The unit vector of each pixel's surface."""

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_normals",)

    @configurable
    def __init__(self, input_shape: Mapping[str, ShapeSpec], *, loss: str = "cosine", **layers: Any) -> None:
        """Args: a name of ``NORMALS_LOSSES``; the others are those of ``DenseHead``."""
        super().__init__(input_shape, 3, normals_loss(loss), **layers)

    @classmethod
    def from_config(cls, cfg: Any, shapes: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MODEL.NORMALS_HEAD``."""
        return {**_layers(cfg.MODEL.NORMALS_HEAD, shapes), "loss": cfg.MODEL.NORMALS_HEAD.LOSS}

    def values(self, output: Tensor) -> Tensor:
        """(N, 3, H, W)."""
        return unit_vectors(output)

    def resized(self, values: Tensor, of_image: Size, size: Size) -> Tensor:
        """(3, H, W), of length 1 again."""
        return unit_vectors(super().resized(values, of_image, size)[None])[0]


class DenseMapHead(MapHead):
    """A ``MapHead`` whose layers say what their prediction is at another size."""

    def predict(self, features: dict[str, Tensor], images: Any, sizes: Sequence[Size]) -> list[Any]:
        """See ``DenseHead.resized``."""
        maps, _ = self.layers(features)
        shown = zip(maps, images.image_sizes, sizes, strict=True)
        return [self.layers.resized(output, of_image, size) for output, of_image, size in shown]  # type: ignore[operator]
