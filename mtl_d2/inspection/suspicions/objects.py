"""Boxes and masks that can hardly be meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_d2.inspection.labels.base import Labels, listed_names
from mtl_d2.inspection.labels.object_page import box_sides

if TYPE_CHECKING:
    from mtl_d2.inspection.labels.objects import ObjectCounts

FEW = 20  # objects below which nothing is said of them all
WHOLE = 0.3  # share of boxes that are the whole image
REPEATED = 0.02  # share of objects that are there twice
THIN, SHARE_THIN = 2.0, 0.5  # pixels, and share of objects whose shorter side is below
MANY, REACHED = 100, 0.7  # objects of which one ought to reach further than this share of its image
RECTANGLE = 0.97  # share of its box that a mask covers which is a rectangle
RARE = 500  # times as many objects of the most frequent class


def odd_objects(labels: Labels, counts: ObjectCounts, cfg: Any) -> Iterator[str]:
    """A sentence each."""
    total = sum(counts.objects.values())
    if total >= FEW and counts.whole > WHOLE * total:
        yield (
            f"{counts.whole} of its {total} boxes are the whole image, the first in {counts.first['whole']}: were they "
            "made of labels of whole images?"
        )
    if total >= FEW and counts.repeated > REPEATED * total:
        yield (
            f"{counts.repeated} of its {total} objects are there twice, with the same box and class, the first in "
            f"{counts.first['repeated']}: was a label file read or joined twice?"
        )
    if total >= MANY and counts.reach[0] and counts.reach[0] < REACHED:
        yield (
            f"none of its {total} boxes reaches beyond {100 * counts.reach[0]:.0f} % of the width of its image "
            f"({100 * counts.reach[1]:.0f} % of the height): were they annotated at another size or aspect ratio?"
        )
    yield from _thin(labels)
    yield from _rectangles(labels)
    yield from _one_class(labels, counts)


def _thin(labels: Labels) -> Iterator[str]:
    sides = box_sides(labels)
    if len(sides) < FEW:
        return
    thin = (sides.min(1) < THIN).mean()
    if thin > SHARE_THIN:
        yield (
            f"{100 * thin:.0f} % of its objects are thinner than {THIN:g} pixels as trained on (the median box is "
            f"{np.median(sides[:, 0]):.1f} x {np.median(sides[:, 1]):.1f}): are boxes in the pixels of the image, and "
            "is INPUT.MIN_SIZE_TRAIN large enough?"
        )


def _rectangles(labels: Labels) -> Iterator[str]:
    filled = np.concatenate([seen.filled for seen in labels.observed]) if labels.observed else np.zeros(0)
    large = box_sides(labels).prod(1)[: len(filled)] > 64 if len(filled) else np.zeros(0, dtype=bool)
    if len(filled) and large.sum() >= FEW and (filled[large] > RECTANGLE).mean() > 0.9:
        yield (
            f"{100 * (filled[large] > RECTANGLE).mean():.0f} % of its masks fill their boxes: they are rectangles, "
            "from which a network learns no outlines; were they made of the boxes?"
        )


def _one_class(labels: Labels, counts: ObjectCounts) -> Iterator[str]:
    """All objects of one class, of several that the set is annotated for."""
    known = [name for name, annotated in zip(labels.names, labels.known(), strict=True) if annotated]
    shown = [i for i, number in counts.objects.items() if number]
    if sum(counts.objects.values()) >= MANY and len(shown) == 1 and len(known) > 2 and labels.is_trained_on:
        name = labels.names[shown[0]] if shown[0] < len(labels.names) else f"id {shown[0]}"
        yield (
            f"all its objects are of the class {name!r}, of {len(known)} that it is annotated for: does its reader "
            "take `category_id` of the file?"
        )


def notable_objects(labels: Labels, counts: ObjectCounts, cfg: Any) -> Iterator[str]:
    """A sentence each."""
    known = labels.known()
    never = [i for i, annotated in enumerate(known) if annotated and not counts.objects[i]]
    names = labels.names
    if never and sum(counts.objects.values()):
        from_one = never == [0] and len(known) > 1
        yield f"no object of the class {listed_names([names[i] for i in never])} is in its {counts.total} images" + (
            ": it is the first of them; do ids in the label file count from 1?" if from_one else ""
        )
    present = {i: n for i, n in counts.objects.items() if n and i < len(names)}
    if labels.is_trained_on and len(present) > 1 and max(present.values()) > RARE * min(present.values()):
        most, least = max(present, key=lambda i: present[i]), min(present, key=lambda i: present[i])
        mend = (
            ""
            if cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler"
            else "; DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler shows images with rare classes more often"
        )
        yield (
            f"classes are far from balanced: {present[most]} objects of {names[most]!r}, "
            f"{present[least]} of {names[least]!r}{mend}"
        )
    if labels.observed and labels.lost > 0.2 * labels.with_images:
        yield f"augmentation leaves no label of {labels.kind.task} in {labels.lost} of {labels.with_images} samples"
