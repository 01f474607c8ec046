"""The class of each pixel of a stored image, without the scores of all classes at its size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch import Tensor

from mtl_d2.tasks.base import Size

Enlarge = Callable[[Tensor], Tensor]
# Pixels of a plane above which ``interpolate`` has one way to go for a plane alone and among others. Of smaller ones,
# of 3 channels and of channels that are last in memory torch makes other last bits, depending on how many there are.
LARGE = 1 << 14


def class_ids(scores: Tensor, enlarge: Enlarge, of_image: Size, size: Size) -> Tensor:
    """The class of the highest score at the size of the stored image, the first one where several are.

    What is compared are the scores as detectron2 resizes them, to the last bit. They are made of one class after the
    other where that is known to give the same bits: memory is for 3 planes and not for 2 C of them, and what is
    compared is still in the processor's cache.

    Args:
        scores: (C, h, w) as the head's layers make them.
        enlarge: from (1, K, h, w), scores of any classes, to the size of the padded image.
        of_image: height and width of the image as the network sees it, without padding.
        size: height and width as stored.

    Returns:
        (H, W) ids, uint8 of up to 255 classes.
    """
    classes = len(scores)
    if classes == 3 or not scores.is_contiguous() or min(_pixels(of_image), _pixels(size)) < LARGE:
        return _of_all(scores, enlarge, of_image, size)
    best = _resized(scores[:1], enlarge, of_image, size)
    ids = torch.zeros(size, dtype=_type(classes), device=scores.device)
    for k in range(1, classes):
        score = _resized(scores[k : k + 1], enlarge, of_image, size)
        ids.masked_fill_(score > best, k)
        best = torch.maximum(best, score, out=best)  # NaN stays
    return _of_all(scores, enlarge, of_image, size) if best.isnan().any() else ids


def ids_of_map(scores: Tensor, stride: int, of_image: Size, size: Size) -> Tensor:
    """The class of the highest score of the pixel of the head's map that is nearest to each of the stored image's.

    Args:
        scores: (C, h, w) as the head's layers make them.
        stride: pixels of the padded image for each of the map's.
        of_image: height and width of the image as the network sees it, without padding.
        size: height and width as stored.

    Returns:
        (H, W) ids, uint8 of up to 255 classes.
    """
    ids = scores.max(dim=0).indices.to(_type(len(scores)))
    rows, columns = (_nearest(*sides, stride, ids.device) for sides in zip(of_image, size, strict=True))
    return ids[rows][:, columns]


def _nearest(of_image: int, stored: int, stride: int, device: torch.device) -> Tensor:
    """For each of the ``stored`` rows, or columns, the one of the map in which its middle is."""
    return torch.arange(stored, device=device).mul_(2).add_(1).mul_(of_image) // (2 * stored * stride)


def _resized(score: Tensor, enlarge: Enlarge, of_image: Size, size: Size) -> Tensor:
    """(H, W) of the score (1, h, w) of a class."""
    large = enlarge(score[None])[0]
    if of_image == size:  # of which resizing makes a copy
        return large[0, : size[0], : size[1]]
    return sem_seg_postprocess(large, of_image, *size)[0]


def _of_all(scores: Tensor, enlarge: Enlarge, of_image: Size, size: Size) -> Tensor:
    # `argmax` on a CPU takes four times as long as `max` with its indices, which are the same.
    ids = sem_seg_postprocess(enlarge(scores[None])[0], of_image, *size).max(dim=0).indices
    return ids.to(_type(len(scores)))


def _type(classes: int) -> torch.dtype:
    """What holds ids and the number of classes."""
    return torch.uint8 if classes <= 255 else torch.int16


def _pixels(size: Size) -> int:
    return size[0] * size[1]
