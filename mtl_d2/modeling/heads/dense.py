"""Depth and surface normals: losses and predictions of maps that any layers make of a trunk's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from mtl_d2.data.dense_geometry import DEPTH_SCALINGS
from mtl_d2.modeling.heads.dense_losses import ACTIVATIONS, DenseLoss, depth_loss, normals_loss, unit_vectors
from mtl_d2.modeling.heads.map_head import MapHead
from mtl_d2.modeling.heads.map_layers import at_image_size, at_stored_size, build_map_layers, every, require
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.base import Size


class DenseHead(nn.Module):
    """Layers, loss and predictions of some numbers for each pixel; a label that is 0 in all of them is none.

    Attributes:
        loss_keys: names of the terms of its loss; there is one.
    """

    loss_keys: ClassVar[tuple[str, ...]]

    def __init__(self, layers: nn.Module, loss: DenseLoss, loss_weight: float = 1.0, loss_size: str = "image") -> None:
        """Args as the keys of the config have them.

        Args:
            layers: see ``mtl_d2.modeling.heads.map_layers``.
            loss: over pixels or images.
            loss_weight: its factor.
            loss_size: "image" or "map".
        """
        super().__init__()
        self.layers, self.loss, self.loss_weight = layers, loss, loss_weight
        self.in_features, self.common_stride = layers.in_features, int(layers.common_stride)  # type: ignore[arg-type]
        self.loss_stride = 1 if loss_size == "image" else self.common_stride

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
        return self.map_losses(self.layers(features), targets, reduction)

    def map_losses(self, output: Tensor, targets: list[Tensor], reduction: Reduction) -> dict[str, Tensor]:
        """The same of what the layers gave, (N, C, h, w) for the N > 0 samples."""
        output = at_image_size(output, self.common_stride // self.loss_stride)
        height, width = (side * self.loss_stride for side in output.shape[2:])
        target = output.new_zeros(*output.shape[:2], height, width)
        for padded, unpadded in zip(target, targets, strict=True):
            padded[:, : unpadded.shape[-2], : unpadded.shape[-1]] = unpadded
        target = every(target, self.loss_stride)  # (N, C, h, w)
        labelled = (target != 0).any(1)
        count = reduction.count(self.loss.counts(labelled).sum().double()).clamp(min=1e-6).to(output.dtype)
        return {self.loss_keys[0]: self.loss.terms(output, target, labelled).sum() / count * self.loss_weight}

    def outputs(self, features: dict[str, Tensor]) -> Tensor:
        """(N, C, H, W) of the last layer, at the size of the padded images, in float32 at least."""
        return at_image_size(self.layers(features), self.common_stride)

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
        return at_stored_size(values, of_image, size)


def _head_options(options: Any, shapes: Mapping[str, ShapeSpec], channels: int) -> dict[str, Any]:
    """Arguments of ``DenseHead`` from a head's node of the config."""
    return {
        "layers": build_map_layers(options, shapes, channels),
        "loss": options.LOSS,
        "loss_weight": options.LOSS_WEIGHT,
        "loss_size": options.LOSS_SIZE,
    }


class DepthHead(DenseHead):
    """Depth, or disparity, of each pixel, in the unit of its labels."""

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_depth",)

    @configurable
    def __init__(
        self,
        layers: nn.Module,
        *,
        loss: str = "l1",
        activation: str = "linear",
        si_lambda: float = 0.5,
        scaling: str = "none",
        **options: Any,
    ) -> None:
        """Args as ``depth_loss`` has them, and those of ``DenseHead``.

        Args:
            layers: whose map has one channel.
            loss: a name of ``DEPTH_LOSSES``.
            activation: a key of ``ACTIVATIONS``.
            si_lambda: of "si_log".
            scaling: a key of ``DEPTH_SCALINGS``: what was done to the labels where their image was magnified.
            **options: of ``DenseHead``.

        Raises:
            ValueError: the logarithm of depth is wanted, which the activation does not keep positive.
        """
        if loss == "si_log" and activation == "linear":
            raise ValueError("the loss 'si_log' needs the activation 'exp' or 'softplus': others give negative depth")
        super().__init__(layers, depth_loss(loss, ACTIVATIONS[activation], si_lambda), **options)
        self.activation, self.scaling = ACTIVATIONS[activation], DEPTH_SCALINGS[scaling]
        nn.init.normal_(layers.predictor.weight, std=0.01)  # type: ignore[union-attr, arg-type]  # else depths begin anywhere, those of "exp" at e^10

    @classmethod
    def from_config(cls, cfg: Any, shapes: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MODEL.DEPTH_HEAD``."""
        options, head = cfg.MODEL.DEPTH_HEAD, _head_options(cfg.MODEL.DEPTH_HEAD, shapes, 1)
        require(head["layers"], options.LAYERS, "predictor")
        depth = {"activation": options.ACTIVATION, "si_lambda": options.SI_LAMBDA, "scaling": options.SCALING}
        return {**head, **depth}

    def values(self, output: Tensor) -> Tensor:
        """(N, 1, H, W)."""
        return self.activation.depth(output)

    def resized(self, values: Tensor, of_image: Size, size: Size) -> Tensor:
        """(H, W), with the scaling of depth by the size of its image undone."""
        magnification = (of_image[0] * of_image[1] / (size[0] * size[1])) ** 0.5
        return super().resized(values, of_image, size)[0] / self.scaling(magnification)


class NormalsHead(DenseHead):
    """The unit vector of each pixel's surface."""

    loss_keys: ClassVar[tuple[str, ...]] = ("loss_normals",)

    @configurable
    def __init__(self, layers: nn.Module, *, loss: str = "cosine", **options: Any) -> None:
        """Args: layers of 3 channels; a name of ``NORMALS_LOSSES``; the others are those of ``DenseHead``."""
        super().__init__(layers, normals_loss(loss), **options)

    @classmethod
    def from_config(cls, cfg: Any, shapes: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of ``__init__`` from ``cfg.MODEL.NORMALS_HEAD``."""
        return _head_options(cfg.MODEL.NORMALS_HEAD, shapes, 3)

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
