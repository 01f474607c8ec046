"""Boxes and pixels of the same image that call the same thing by different names, or lie in different places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_d2.tasks.base import Sample, TaskKind
from mtl_d2.tasks.detection import Detection
from mtl_d2.tasks.semantic import Semantic

FEW = 15  # objects of a class from which on something is said of it
LITTLE = 0.06  # share of the pixels of boxes that have the boxes' class
SMALLEST = 16  # pixels of a box that counts

Shares = dict[str, list[tuple[float, float]]]  # by class: of its pixels in a box, and in the whole image


def shares_in_boxes(sample: Sample, kinds: Sequence[TaskKind], dataset: str) -> Mapping[tuple[str, str], Shares]:
    """By tasks of boxes and of pixels, of each box of a class that pixels have as well, how many of its pixels have it.

    Args:
        sample: with its labels.
        kinds: of the tasks.
        dataset: of the sample.
    """
    found: dict[tuple[str, str], Shares] = {}
    of_boxes = [kind for kind in kinds if isinstance(kind, Detection) and kind.sample_key in sample]
    of_pixels = [kind for kind in kinds if isinstance(kind, Semantic) and kind.sample_key in sample]
    for boxes in of_boxes:
        for pixels in of_pixels:
            shared = _shared(boxes.class_names(dataset), pixels.class_names(dataset))
            if shared:
                found[boxes.task, pixels.task] = _shares(sample[boxes.sample_key], sample[pixels.sample_key], shared)
    return found


def _shared(things: Sequence[Any], stuff: Sequence[Any]) -> dict[int, tuple[str, int]]:
    ids = {str(name): i for i, name in enumerate(stuff)}
    return {i: (str(name), ids[str(name)]) for i, name in enumerate(things) if str(name) in ids}


def _shares(instances: Any, ids: Any, shared: Mapping[int, tuple[str, int]]) -> Shares:
    shares: Shares = {}
    pixels = ids.numpy()
    for box, category in zip(instances.gt_boxes.tensor.tolist(), instances.gt_classes.tolist(), strict=True):
        if category not in shared:
            continue
        name, of_pixels = shared[category]
        x0, y0, x1, y1 = (round(value) for value in box)
        inside = pixels[max(y0, 0) : y1, max(x0, 0) : x1]
        if inside.size >= SMALLEST:
            shares.setdefault(name, []).append(
                (float((inside == of_pixels).mean()), float((pixels == of_pixels).mean()))
            )
    return shares


def disagreements(observed: Sequence[Mapping[tuple[str, str], Shares]]) -> Iterator[str]:
    """A sentence for each two tasks, with the classes of which boxes have hardly a pixel."""
    together: dict[tuple[str, str], Shares] = {}
    for one in observed:
        for tasks, shares in one.items():
            for name, pairs in shares.items():
                together.setdefault(tasks, {}).setdefault(name, []).extend(pairs)
    for (boxes, pixels), shares in together.items():
        apart = []
        for name, pairs in shares.items():
            inside, everywhere = np.mean(pairs, axis=0)
            if len(pairs) >= FEW and inside < max(LITTLE, 1.2 * everywhere) and inside < 0.5:
                apart.append(f"{100 * inside:.1f} % of the pixels in {len(pairs)} boxes of {name!r}")
        if apart:
            yield (
                f"{boxes} and {pixels} do not fit: only {', '.join(apart[:4])} have that class in the map: are ids in "
                "the order of the names in both, and are both of the same images?"
            )
