"""Which anchors learn which objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances, pairwise_ioa, pairwise_iou
from torch import Tensor

from mtl_d2.modeling.heads.regions import OVERLAP, regions_of

IGNORED = -1  # label of anchors without loss
EXACT = "donot_use_mm_for_euclid_dist"  # of cdist: matrix products would round equal distances apart


def atss(anchors: Sequence[Boxes], objects: Boxes, candidates: Sequence[int]) -> Tensor:
    """Adaptive training sample selection.

    Of each level an object has as candidates the anchors whose centres are nearest to its own; positive are those whose
    IoU with it is at least the mean + standard deviation of all its candidates', and whose centre lies in it. An anchor
    that is positive for several objects is that of the highest IoU.

    Paper: Zhang et al., Bridging the gap between anchor-based and anchor-free detection via adaptive training sample
        selection, CVPR 2020, https://arxiv.org/abs/1912.02424, algorithm 1.
    Differs from: nothing; the deviation is that of a sample, with n - 1, as in its authors' code. Of anchors at one
        distance the first of the level is nearer, on every device.

    Args:
        anchors: of each level; R in all.
        objects: G.
        candidates: k of each level; of smaller levels all anchors are.

    Returns:
        (R,) the object of each anchor, -1 for none.
    """
    together = Boxes.cat(list(anchors))
    if not len(objects):
        return torch.full((len(together),), -1, device=together.device)
    ious = pairwise_iou(objects, together)  # (G, R)
    chosen, start = [], 0  # candidates
    for level, number in zip(anchors, candidates, strict=True):
        distances = torch.cdist(objects.get_centers().to(level.tensor), level.get_centers(), compute_mode=EXACT)
        chosen.append(start + distances.sort(dim=1, stable=True).indices[:, :number])
        start += len(level)
    places = torch.cat(chosen, dim=1)  # (G, C)
    overlap = ious.gather(1, places)
    threshold = overlap.mean(1, keepdim=True) + (overlap.std(1, keepdim=True) if places.shape[1] > 1 else 0)
    positive = (overlap >= threshold) & _inside(together.get_centers()[places], objects)
    quality = torch.full_like(ious, -1).scatter(1, places, overlap.where(positive, -1))
    best, of_object = quality.max(0)
    return of_object.where(best >= 0, -1)


def _inside(points: Tensor, objects: Boxes) -> Tensor:
    """(G, C) bool: whether points (G, C, 2) lie in their object."""
    box = objects.tensor.to(points)[:, None]  # (G, 1, 4)
    return ((points > box[..., :2]) & (points < box[..., 2:])).all(-1)


def labelled(of_object: Tensor, target: Instances, background: int) -> tuple[Tensor, Tensor]:
    """Class ids (R,), ``background`` for none, and boxes (R, 4) of the objects (R,) of anchors, -1 for none.

    Boxes of anchors without an object are anything.
    """
    labels = torch.full_like(of_object, background)
    if not len(target):
        return labels, target.gt_boxes.tensor.new_zeros(len(labels), 4)
    places = of_object.clamp(min=0)
    return target.gt_classes[places].where(of_object >= 0, labels), target.gt_boxes.tensor[places]


def without_regions(labels: Tensor, anchors: Boxes, background: int, sample: dict) -> Tensor:
    """``labels`` (R,), with ``IGNORED`` for anchors of a region that are background; see ``regions``."""
    regions = regions_of(sample, labels.device)
    if regions is None:
        return labels
    shown = Boxes(anchors.tensor.clone())
    shown.clip(sample["instances"].image_size)
    inside = (pairwise_ioa(regions, shown) >= OVERLAP).any(0)
    return labels.masked_fill(inside & (labels == background), IGNORED)
