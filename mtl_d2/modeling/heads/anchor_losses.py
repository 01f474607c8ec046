"""Losses of detectors with anchors: of classes, with the quality of boxes as target if wanted, and of boxes.

All are sums, in the precision of their inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from detectron2.layers import ciou_loss, diou_loss
from fvcore.nn import giou_loss, smooth_l1_loss
from torch import Tensor
from torch.nn import functional as F

# Of deltas, anchors and boxes of objects (each (P, 4)), detectron2's transform between them, and smooth L1's beta.
BoxLoss = Callable[[Tensor, Tensor, Tensor, Any, float], Tensor]


def focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss with targets between 0 and 1.

    L = sum alpha_t |t - p|^gamma (-t log p - (1 - t) log(1 - p)), p the sigmoid of ``logits``.

    alpha_t is ``alpha`` where t > 0 and 1 - ``alpha`` elsewhere, or 1 if ``alpha`` is negative.

    Paper: Li et al., Generalized focal loss, NeurIPS 2020, https://arxiv.org/abs/2006.04388, eq. 5 (quality focal
        loss), whose t is the IoU of the predicted box for the class of an object.
    Differs from: eq. 5 in alpha_t, as in the code of Yun and Cho (ICCV 2023). For t in {0, 1} it is RetinaNet's focal
        loss (Lin et al., ICCV 2017, https://arxiv.org/abs/1708.02002, eq. 5), as detectron2 has it.

    Args:
        logits: of any shape.
        target: t in [0, 1], of the same.
        alpha: in [0, 1], or negative.
        gamma: >= 0.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (target - logits.sigmoid()).abs() ** gamma * entropy
    if alpha >= 0:
        loss = torch.where(target > 0, alpha * loss, (1 - alpha) * loss)
    return loss.sum()


def matched_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(P,) IoU of each box with its other ((P, 4) both); 0 where neither has an area."""
    lower, upper = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    overlap = (upper - lower).clamp(min=0).prod(1)
    area, other_area = (one[:, 2:].sub(one[:, :2]).prod(1) for one in (boxes, others))
    union = area + other_area - overlap
    return overlap / union.clamp(min=torch.finfo(union.dtype).tiny)


def iou_loss(boxes: Tensor, others: Tensor, reduction: str = "sum") -> Tensor:
    """The sum of 1 - IoU."""
    assert reduction == "sum"
    return (1 - matched_iou(boxes, others)).sum()


def _of_deltas(deltas: Tensor, anchors: Tensor, boxes: Tensor, transform: Any, beta: float) -> Tensor:
    return smooth_l1_loss(deltas, transform.get_deltas(anchors, boxes), beta=beta, reduction="sum")


def _of_boxes(
    loss: Callable[..., Tensor], deltas: Tensor, anchors: Tensor, boxes: Tensor, transform: Any, beta: float
) -> Tensor:
    return loss(transform.apply_deltas(deltas, anchors), boxes, reduction="sum")


BOX_LOSSES: Mapping[str, BoxLoss] = MappingProxyType(
    {
        "smooth_l1": _of_deltas,
        "giou": partial(_of_boxes, giou_loss),
        "diou": partial(_of_boxes, diou_loss),
        "ciou": partial(_of_boxes, ciou_loss),
        "iou": partial(_of_boxes, iou_loss),
    }
)


def hard_target(deltas: Tensor, anchors: Tensor, boxes: Tensor, transform: Any) -> Tensor:
    """(P,) ones: an object is there."""
    return torch.ones_like(deltas[:, 0])


@torch.no_grad()
def iou_target(deltas: Tensor, anchors: Tensor, boxes: Tensor, transform: Any) -> Tensor:
    """(P,) the IoU of each predicted box with its object's."""
    return matched_iou(transform.apply_deltas(deltas, anchors), boxes.to(deltas)).to(deltas.dtype)


# Of deltas, anchors and boxes of objects and the transform, the target of the class of each.
TARGETS: Mapping[str, Callable[..., Tensor]] = MappingProxyType({"hard": hard_target, "iou": iou_target})
