"""Maps of classes that can hardly be meant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtl_d2.inspection.labels.base import Array, Labels, listed_names, share

VOID = 0.9  # share of pixels without a label
FEW = 5  # maps below which nothing is said of them all
UNIFORM = 0.5  # share of maps of one class
RARE = 1e-5  # share of labelled pixels
ABOVE = ("sky", "ceiling")  # what is over
BELOW = ("road", "floor", "sidewalk", "pavement", "ground", "carpet")  # these


def odd_class_maps(labels: Labels) -> Iterator[str]:
    """A sentence each."""
    pixels, void = _pixels(labels)
    total, n = pixels.sum() + void.sum(), len(pixels)
    if void.sum() > VOID * total:
        yield (
            f"{share(void.sum(), total)} of the pixels of the {n} samples looked at are void: is `ignore_label` right, "
            "and are the ids in the maps those of the classes?"
        )
    uniform = ((pixels > 0).sum(1) == 1).mean()
    if n >= FEW and uniform > UNIFORM and len(labels.names) > 2:
        yield (
            f"{100 * uniform:.0f} % of the {n} maps looked at have one class alone: are they maps of the class of each "
            "pixel?"
        )
    yield from _upside_down(labels)


def _upside_down(labels: Labels) -> Iterator[str]:
    features = np.stack([seen.features for seen in labels.observed])  # (N, C, 5)
    names = {name.lower(): i for i, name in enumerate(labels.names[: features.shape[1]])}
    for upper in (name for name in ABOVE if name in names):
        for lower in (name for name in BELOW if name in names):
            heights = features[:, [names[upper], names[lower]], 0]
            heights = heights[np.isfinite(heights).all(1)]
            if len(heights) >= FEW and (heights[:, 0] > heights[:, 1]).mean() > 0.5:
                yield (
                    f"{upper!r} lies below {lower!r} in {100 * (heights[:, 0] > heights[:, 1]).mean():.0f} % of the "
                    f"{len(heights)} samples that show both: are `{labels.kind.classes_key}` in the order of the ids, "
                    "and the maps upright?"
                )
                return


def notable_maps(labels: Labels) -> Iterator[str]:
    """A sentence each."""
    pixels, _ = _pixels(labels)
    names = labels.names
    of_class = pixels.sum(0)
    rare = [names[i] for i in range(min(len(names), len(of_class))) if 0 < of_class[i] < RARE * max(of_class.sum(), 1)]
    if rare and labels.is_trained_on:
        yield f"fewer than 1 in {1 / RARE:,.0f} labelled pixels are {listed_names(rare)}: little is learnt of it"
    if labels.lost > 0.2 * labels.with_images:
        yield f"augmentation leaves no label of {labels.kind.task} in {labels.lost} of {labels.with_images} samples"


def _pixels(labels: Labels) -> tuple[Array, Array]:
    """(N, C) of each class, and (N,) void."""
    return np.stack([seen.pixels for seen in labels.observed]), np.array([seen.void for seen in labels.observed])
