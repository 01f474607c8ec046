"""Which points of a dense detector's feature level may be objects."""

from __future__ import annotations

from typing import Any

from detectron2.structures import Boxes, Instances
from torch import Tensor

from mtl_d2.tasks.base import Size


def best_of_level(
    model: Any, anchors: Boxes, scores: Tensor, deltas: Tensor, threshold: float, most: int, image_size: Size
) -> Instances:
    """What ``DenseDetector._decode_per_level_predictions`` gives, for any number of candidates once it is traced.

    detectron2's takes the smaller of ``most`` and the candidates of the image at hand, and a trace keeps that choice.

    Args:
        model: the ``DenseDetector``.
        anchors: R of the level.
        scores: (R, K) of one image.
        deltas: (R, 4), or what ``model.box2box_transform`` applies.
        threshold: of scores.
        most: candidates that are kept, those of the highest scores.
        image_size: height and width.
    """
    above = scores > threshold
    kept, order = scores[above].sort(descending=True)
    points, classes = above.nonzero()[order[:most]].unbind(dim=1)
    boxes = model.box2box_transform.apply_deltas(deltas[points], anchors.tensor[points])
    return Instances(image_size, pred_boxes=Boxes(boxes), scores=kept[:most], pred_classes=classes)
