"""Regions in which objects are not told apart: a detection there is neither right nor wrong; nothing is learnt.

As in COCO's evaluation (pycocotools, ``iscrowd``) a box belongs to a region by the share of its *own* area inside, at
IoU 0.5 by a half of it; a point, of which FCOS predicts a box, by lying inside. What is an object's all the same is
trained as such. Differs from: the evaluation asks that classes agree; here a region is no background for any class.
Detections end where the image ends, so an anchor counts with its part inside the image.
"""

from __future__ import annotations

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, Instances, pairwise_ioa, pairwise_iou, pairwise_point_box_distance
from detectron2.utils.memory import retry_if_cuda_oom
from torch import Tensor

from mtl_d2.data.objects import REGIONS

OVERLAP = 0.5  # share of a box's own area
SURELY_NOT = -1e4  # logit of probability 0, whose focal loss as background is 0 with gradient 0


def regions_of(sample: dict, device: torch.device) -> Boxes | None:
    """The regions of a mapped sample, or None; samples of other mappers have none."""
    return sample[REGIONS].to(device) if REGIONS in sample else None


def boxes_left_out(boxes: Boxes, regions: Boxes, target: Instances, matcher: Matcher) -> Tensor:
    """(R,) bool: the ``boxes`` that belong to a region, and by ``matcher`` to no object of ``target``."""
    shown = Boxes(boxes.tensor.clone())
    shown.clip(target.image_size)
    _, labels = retry_if_cuda_oom(matcher)(retry_if_cuda_oom(pairwise_iou)(target.gt_boxes, boxes))
    inside = pairwise_ioa(regions, shown) >= OVERLAP  # (K, R)
    return inside.any(0) & (labels.to(inside.device) != 1)


def points_left_out(anchors: list[Boxes], labels: list[Tensor], background: int, samples: list[dict]) -> Tensor | None:
    """(N, R) bool: the anchor points inside a region that are labelled background; None where there is no region.

    Args:
        anchors: of each level of the pyramid; R in all, the middle of each is its point.
        labels: N, each (R,), class ids or ``background``.
        background: the label of what is no object.
        samples: N.
    """
    if not any(REGIONS in sample for sample in samples):
        return None
    points = Boxes.cat(anchors).get_centers()  # (R, 2)
    left_out = []
    for image_labels, sample in zip(labels, samples, strict=True):
        regions = regions_of(sample, points.device)
        if regions is None:
            left_out.append(torch.zeros_like(image_labels, dtype=torch.bool))
        else:
            inside = pairwise_point_box_distance(points, regions).min(dim=2).values > 0  # (R, K)
            left_out.append(inside.any(1) & (image_labels == background))
    return torch.stack(left_out)


def without_loss(logits: list[Tensor], left_out: Tensor) -> list[Tensor]:
    """``logits``, of each level (N, H W, C), that cost nothing as background where ``left_out`` says so.

    Args:
        logits: of each level.
        left_out: (N, R, C) bool, or (N, R, 1) for all classes alike.
    """
    parts = left_out.split([level.shape[1] for level in logits], dim=1)
    return [level.masked_fill(part, SURELY_NOT) for level, part in zip(logits, parts, strict=True)]
