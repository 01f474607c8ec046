"""Losses on images that are annotated for some classes only: of the others an image says neither yes nor no.

Samples say by ``annotated_classes`` (C,) bool, which classes are annotated exhaustively there; without the key all are.
An annotated object of another class (of a federated data set) is trained as such all the same. Nothing here waits for
the device, and nothing runs where no sample has a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from mtl_d2.data.annotated_classes import annotated_key
from mtl_d2.modeling.heads.regions import SURELY_NOT

ANNOTATED = annotated_key("thing_classes")  # key of a sample


def annotated_of(samples: Sequence[dict], number: int, device: torch.device, key: str = ANNOTATED) -> Tensor | None:
    """(N, C) bool: the classes that each sample is annotated for; None where each is for all ``number``."""
    if not any(key in sample for sample in samples):
        return None
    everything = torch.ones(number, dtype=torch.bool)
    return torch.stack([sample.get(key, everything) for sample in samples]).to(device)


def negatives_left_out(labels: Tensor, annotated: Tensor) -> Tensor:
    """(N, R, C) bool: the sigmoid terms that would say that there is none of a class that is not annotated.

    Args:
        labels: (N, R) class ids of anchors; any other number where there is no object.
        annotated: (N, C).
    """
    ids = torch.arange(annotated.shape[1], device=labels.device)
    return ~annotated[:, None] & (labels[..., None] != ids)


def of_annotated(scores: Tensor, proposals: Sequence[Instances], annotated: Tensor) -> Tensor:
    """``scores`` whose softmax is among the background and the classes that each proposal's image is annotated for.

    Args:
        scores: (R, C + 1) of all proposals, background last.
        proposals: of N images, with ``gt_classes``, which stay in.
        annotated: (N, C).
    """
    known = torch.cat([row.expand(len(of_image), -1) for row, of_image in zip(annotated, proposals, strict=True)])
    labels = torch.cat([of_image.gt_classes for of_image in proposals])
    left_out = negatives_left_out(labels[:, None], known)[:, 0]  # (R, C)
    background = torch.zeros_like(left_out[:, :1])
    return scores.masked_fill(torch.cat([left_out, background], dim=1), SURELY_NOT)


class HiddenClasses(NamedTuple):
    """What pixels that are labelled as something else may show, in N images.

    Attributes:
        other: (N,) the id of pixels that show nothing annotated; -1 = there is none, or it hides no class.
        ids: (K,) of the classes that are in the union of some image.
        union: (N, K) bool, which of them such pixels may have, ``other`` among them.
    """

    other: Tensor
    ids: Tensor
    union: Tensor

    def of_image(self, n: int) -> HiddenClasses:
        """Those of one of the N images."""
        return self._replace(other=self.other[n : n + 1], union=self.union[n : n + 1])


def hidden_of(samples: Sequence[dict], device: torch.device, classes_key: str, other_key: str) -> HiddenClasses | None:
    """None where no sample has a class that is not annotated and pixels that may hide it.

    Args:
        samples: N.
        device: of what is returned.
        classes_key: of the list of the C classes.
        other_key: of samples, an id.
    """
    key = annotated_key(classes_key)
    number = next((len(sample[key]) for sample in samples if key in sample and other_key in sample), None)
    if number is None:
        return None
    union, others = torch.zeros(len(samples), number, dtype=torch.bool), torch.full((len(samples),), -1)
    for i, sample in enumerate(samples):
        if key in sample and other_key in sample:
            others[i] = sample[other_key]
            union[i] = ~sample[key]
            union[i, others[i]] = True
    (ids,) = union.any(0).nonzero(as_tuple=True)  # on the host, where nothing waits
    union[others < 0] = True  # which is not looked at; a sum of nothing would have no gradient
    return HiddenClasses(others.to(device), ids.to(device), union[:, ids].to(device))


def united(logits: Tensor, target: Tensor, hidden: HiddenClasses) -> Tensor:
    """``logits`` for any loss of a softmax, in which the pixels of ``other`` have one class for all that they may be.

    There the score of ``other`` is log sum exp of the scores of the union, and those of its other classes are as if
    they were not: the softmax has the sum of their probabilities P, so that cross entropy is -log P, with the gradient
    p_k - [k in union] p_k / P for class k. A pixel of any other label is what it is said to be, and keeps its scores.

    Args:
        logits: (N, C, H, W).
        target: (N, H, W) class ids.
        hidden: of the N images.
    """
    scores = logits[:, hidden.ids]  # (N, K, H, W): only these change
    union = hidden.union[..., None, None]
    is_other = (hidden.other[:, None] == hidden.ids)[..., None, None]
    here = (target == hidden.other[:, None, None])[:, None]  # (N, 1, H, W)
    together = scores.masked_fill(~union, -torch.inf).logsumexp(1, keepdim=True)
    scores = torch.where(here & is_other, together, scores.masked_fill(here & union, SURELY_NOT))
    return logits.index_copy(1, hidden.ids, scores)
