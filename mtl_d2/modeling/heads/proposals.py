"""Region proposals: what the box branch and the mask branch of an R-CNN share beyond the features.

Labelled anchors and sampled proposals are constants of an update, as they are in detectron2, where no gradient goes
through them. Each is made once for a sample and kept in it, so that every task and every pass of the update sees the
same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import ROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor

from mtl_d2.modeling.heads.partial_classes import ANNOTATED
from mtl_d2.modeling.heads.regions import boxes_left_out, regions_of
from mtl_d2.modeling.precision import not_half

ANCHORS = "labelled_anchors"  # key of a sample: labels (R,) and matched boxes (R, 4) of its R anchors
BOUND = 1e6  # of a logit, and of a box's shift in widths of its anchor
PROPOSALS = "sampled_proposals"  # key of a sample: Instances of its S sampled proposals with their targets


class Predictions(NamedTuple):
    """What the RPN says of N images, level by level; A anchors at each of the H x W points of a level.

    In float32 at least: neither losses nor non-maximum suppression are for half precision.

    Attributes:
        anchors: of each level, H W A boxes.
        logits: of each level, (N, H W A).
        deltas: of each level, (N, H W A, 4).
    """

    anchors: list[Boxes]
    logits: list[Tensor]
    deltas: list[Tensor]


def predict(rpn: RPN, features: dict[str, Tensor]) -> Predictions:
    """The RPN's head on all its levels of ``features`` (each (N, C, H, W))."""
    levels = [features[name] for name in rpn.in_features]
    anchors = rpn.anchor_generator(levels)
    logits, deltas = rpn.rpn_head(levels)
    return Predictions(
        anchors,
        [not_half(x).permute(0, 2, 3, 1).flatten(1) for x in logits],
        [permute_to_N_HWA_K(not_half(x), rpn.anchor_generator.box_dim) for x in deltas],
    )


def rpn_losses(
    rpn: RPN, predictions: Predictions, samples: Sequence[dict], partial_negatives: bool = True
) -> dict[str, Tensor]:
    """detectron2's losses of the RPN.

    Args:
        rpn: with its matcher.
        predictions: of it.
        samples: whose anchors are labelled where they are not yet.
        partial_negatives: whether anchors without an object are background where not all classes are annotated, too.
    """
    for sample in samples:
        if ANCHORS not in sample:
            sample[ANCHORS] = _label_anchors(rpn, Boxes.cat(predictions.anchors), sample)
    labels, boxes = zip(*(sample[ANCHORS] for sample in samples), strict=True)
    if not partial_negatives:
        labels = tuple(
            of_image.masked_fill(of_image == 0, -1) if ANNOTATED in sample else of_image
            for of_image, sample in zip(labels, samples, strict=True)
        )
    anchors, logits, deltas = predictions
    return rpn.losses(anchors, logits, list(labels), deltas, list(boxes))


def _label_anchors(rpn: RPN, anchors: Boxes, sample: dict) -> tuple[Tensor, Tensor]:
    """detectron2's labels (R,) and matched boxes (R, 4); anchors of a region are not there to be sampled."""
    target, regions = _targets(sample, anchors.device), regions_of(sample, anchors.device)
    if regions is None:
        (labels,), (boxes,) = rpn.label_and_sample_anchors([anchors], [target])
        return labels, boxes
    # The best anchors of each object stay, and with them what the others are matched to.
    kept = ~boxes_left_out(anchors, regions, target, rpn.anchor_matcher)
    (of_kept,), (boxes_of_kept,) = rpn.label_and_sample_anchors([anchors[kept]], [target])
    labels, boxes = of_kept.new_full((len(anchors),), -1), torch.zeros_like(anchors.tensor)
    labels[kept], boxes[kept] = of_kept, boxes_of_kept
    return labels, boxes


@torch.no_grad()
def propose(rpn: RPN, roi_heads: ROIHeads, predictions: Predictions, samples: Sequence[dict]) -> None:
    """Gives each of ``samples``, which ``predictions`` are of, its sampled proposals."""
    targets = [_targets(sample, predictions.logits[0].device) for sample in samples]
    anchors, logits, deltas = predictions
    # Of what is not finite detectron2 would only raise, and on this process alone; the losses show it on all.
    scores = [_bounded(x.float()) for x in logits]  # non-maximum suppression takes boxes and scores of one type
    proposed = rpn.predict_proposals(anchors, scores, [_bounded(x) for x in deltas], [t.image_size for t in targets])
    proposed = [_outside(*of_image, roi_heads) for of_image in zip(proposed, samples, targets, strict=True)]
    for sample, proposals in zip(samples, roi_heads.label_and_sample_proposals(proposed, targets), strict=True):
        sample[PROPOSALS] = proposals


def _outside(proposals: Instances, sample: dict, target: Instances, roi_heads: ROIHeads) -> Instances:
    """``proposals`` without those of a region, which are no background."""
    boxes = proposals.proposal_boxes
    regions = regions_of(sample, boxes.device)
    if regions is None:
        return proposals
    return proposals[~boxes_left_out(boxes, regions, target, roi_heads.proposal_matcher)]


def _bounded(prediction: Tensor) -> Tensor:
    """``prediction`` where it is a number that could mean something, else 0 or the bound."""
    return prediction.nan_to_num().clamp(-BOUND, BOUND)


def _targets(sample: dict, device: torch.device) -> Instances:
    """The ground truth of a sample, without masks where no task asks for them: each proposal would get a copy."""
    fields = sample["instances"].get_fields()
    if "instance" not in sample.get("tasks", ("instance",)):
        fields = {name: value for name, value in fields.items() if name != "gt_masks"}
    return Instances(sample["instances"].image_size, **fields).to(device)
