"""Predictions of a teacher, of images of one size."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

HEIGHT, WIDTH = 6, 8


def objects(*rows, masks=False):
    """Predictions of (x0, y0, x1, y1, score, class)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    instances = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(table[:, :4]), scores=table[:, 4])
    instances.pred_classes = table[:, 5].long()
    if masks:
        instances.pred_masks = torch.zeros(len(rows), HEIGHT, WIDTH, dtype=torch.bool)
        for mask, (x0, y0, x1, y1, *_) in zip(instances.pred_masks, rows, strict=True):
            mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    return instances


def scores_of(ids, probability):
    """Scores (3, H, W) whose softmax has ``probability`` at the class ``ids`` (H, W) says."""
    probabilities = torch.full((3, HEIGHT, WIDTH), (1 - probability) / 2)
    return probabilities.scatter(0, torch.as_tensor(np.asarray(ids))[None].long(), probability).log()
