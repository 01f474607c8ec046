"""Losses of pixels' classes, as sums over images, which may be computed one image at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_d2.modeling.heads.map_layers import at_image_size, every
from mtl_d2.modeling.heads.partial_classes import HiddenClasses, united
from mtl_d2.modeling.recompute import image_by_image
from mtl_d2.parallel.reduction import Reduction


class SemanticLosses:
    """The loss of a semantic head that has ``layers(features)`` and ``map_losses``, from sums over pixels by image."""

    layers: Any
    map_losses: Any
    ignore_value: int
    common_stride: int
    loss_stride = 1  # pixels of an image for each that the loss is taken at
    label_smoothing = 0.0
    _again = False

    def keep_no_losses(self) -> None:
        """See ``LosesByImage``."""
        self._again = True

    def task_losses(
        self,
        features: dict[str, Tensor],
        targets: list[Tensor],
        reduction: Reduction,
        device: torch.device,
        hidden: HiddenClasses | None = None,
    ) -> dict[str, Tensor]:
        """The terms of the loss, empty without samples: their counts are still summed over processes.

        Args:
            features: by name, each (N, C, Hi, Wi).
            targets: N maps (H, W) of class ids, ``ignore_value`` = no label; may be smaller than the padded image.
            reduction: sums pixels and images over processes.
            device: where the counts of a process without samples live.
            hidden: what pixels may be that are labelled as something else; None = all are what they are labelled as.
        """
        if not targets:
            reduction.count(torch.zeros(2, dtype=torch.float64, device=device))
            return {}
        return self.map_losses(self.layers(features), targets, reduction, hidden)

    def image_sums(self, output: Tensor, target: Tensor, hidden: HiddenClasses | None) -> Tensor:
        """(K, N) what the K terms of the loss are sums of over the images, at ``loss_stride``.

        Args:
            output: (N, C, h, w), as the layers give it.
            target: (N, H, W) class ids.
            hidden: as ``task_losses`` has it.
        """
        if not self._again:
            return self._sums(output, target, hidden)

        def of_image(of_output: Tensor, n: int) -> Tensor:
            return self._sums(of_output, target[n : n + 1], None if hidden is None else hidden.of_image(n))

        return image_by_image(of_image, output)

    def _sums(self, output: Tensor, target: Tensor, hidden: HiddenClasses | None) -> Tensor:
        logits = at_image_size(output, self.common_stride // self.loss_stride)
        return self.of_logits(logits if hidden is None else united(logits, target, hidden), target)

    def of_logits(self, logits: Tensor, target: Tensor) -> Tensor:
        """``image_sums`` of the logits (N, C, H, W): here the cross entropy alone, (1, N)."""
        of_pixels = F.cross_entropy(
            logits, target, reduction="none", ignore_index=self.ignore_value, label_smoothing=self.label_smoothing
        )
        return of_pixels.flatten(1).sum(1)[None]

    def padded(self, output: Tensor, targets: list[Tensor]) -> Tensor:
        """The targets (N, H, W) of the pixels that the loss is taken at, of which padding has no label."""
        height, width = (side * self.common_stride for side in output.shape[2:])
        target = output.new_full((len(targets), height, width), self.ignore_value, dtype=torch.long)
        for padded, unpadded in zip(target, targets, strict=True):
            padded[: unpadded.shape[0], : unpadded.shape[1]] = unpadded
        return every(target, self.loss_stride)


def mean_entropy(
    head: SemanticLosses, output: Tensor, targets: list[Tensor], reduction: Reduction, hidden: HiddenClasses | None
) -> Tensor:
    """Of the labelled pixels; args as ``map_losses`` has them."""
    target = head.padded(output, targets)
    pixels, _ = labelled_counts(target, head.ignore_value, reduction)
    entropy = head.image_sums(output, target, hidden).sum()
    return entropy / pixels.to(entropy.dtype)


def labelled_counts(target: Tensor, ignore_value: int, reduction: Reduction) -> Tensor:
    """(2,) float64, > 0: labelled pixels of all processes, and images that have any, for each process."""
    labelled = (target != ignore_value).flatten(1).sum(1)  # (N,)
    return reduction.count(torch.stack([labelled.sum(), (labelled > 0).sum()]).double()).clamp(min=1e-6)


def dice_loss(logits: Tensor, target: Tensor, ignore_value: int) -> Tensor:
    """Soft dice loss of each image: 1 - mean over its present classes of 2 sum(p t) / (sum p + sum t).

    Sums are over the labelled pixels of one image; p is the softmax, t the one-hot target. A class that the image does
    not have is not averaged over, so that it costs nothing to be sure of its absence.

    Args:
        logits: (N, C, H, W).
        target: (N, H, W) class ids in [0, C) or ``ignore_value``.
        ignore_value: id of pixels without a label.

    Returns:
        (N,) in [0, 1]; 0 for an image without a labelled pixel.
    """
    valid = (target != ignore_value).flatten(1)  # (N, HW)
    ids = torch.where(valid, target.flatten(1), 0)
    probability = logits.softmax(1).flatten(2)  # (N, C, HW)
    at_target = probability.gather(1, ids[:, None])[:, 0] * valid
    zeros = logits.new_zeros(logits.shape[:2])
    overlap = zeros.scatter_add(1, ids, at_target)  # (N, C)
    size = zeros.scatter_add(1, ids, valid.to(zeros.dtype))
    predicted = (probability * valid[:, None]).sum(2)  # not a product of matrices, which rounds one image differently
    present = size > 0
    dice = 2 * overlap / (predicted + size).clamp(min=1)
    classes = present.sum(1)
    return torch.where(classes > 0, 1 - (dice * present).sum(1) / classes.clamp(min=1), 0.0)
