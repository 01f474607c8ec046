"""Maps of classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_d2.inspection.labels.base import Array, Inspector, Labels, Profile, Summary, inspector, lab, share
from mtl_d2.inspection.labels.object_page import fold_long, shaded
from mtl_d2.inspection.suspicions.class_maps import notable_maps, odd_class_maps
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.markup import paragraph
from mtl_d2.tasks.base import Sample
from mtl_d2.tasks.options import task_options
from mtl_d2.tasks.semantic import Semantic

ENOUGH = 16  # pixels of a class in an image from which on its place and colour count


@dataclass(frozen=True)
class SeenMap:
    """The map of a sample.

    Attributes:
        pixels: (C,) of each class.
        void: pixels without a label.
        features: (C, 5) of each class: middle from top to bottom in [0, 1], logarithm of its share, and mean colour;
            NaN where it has fewer pixels than ``ENOUGH``.
    """

    pixels: Array
    void: int
    features: Array


@inspector.register(Semantic)
class ClassMapInspector(Inspector):
    """Of semantic tasks."""

    def observe(self, sample: Sample, image: Array) -> SeenMap:
        """See ``Inspector``."""
        ids = sample[self.kind.sample_key].numpy()
        number = self._number_of_classes()
        known = (ids >= 0) & (ids < number) & (ids != task_options(self.cfg, self.kind).IGNORE_VALUE)
        at = ids[known]
        pixels = np.bincount(at, minlength=number)
        height = ids.shape[0]
        rows = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], ids.shape)
        colors = lab(image)
        sums = [np.bincount(at, of[known], number) for of in (rows, *colors.transpose(2, 0, 1))]
        with np.errstate(invalid="ignore", divide="ignore"):
            y, *means = (of / pixels for of in sums)
            features = np.column_stack([y, np.log(pixels / ids.size), *means])
        features[pixels < ENOUGH] = np.nan
        return SeenMap(pixels, int(ids.size - pixels.sum()), features.astype(np.float32))

    def _number_of_classes(self) -> int:
        known = self.kind.number_of_classes(self.cfg)
        return known[1] if known else 0

    def agreement(self, true: Sample, taught: Sample) -> tuple[float, float]:
        """See ``Inspector``: pixels of the same class, of those that have one in both."""
        ignored = task_options(self.cfg, self.kind).IGNORE_VALUE
        real, given = (sample[self.kind.sample_key] for sample in (true, taught))
        both = (real != ignored) & (given != ignored)
        return float(((real == given) & both).sum()), float(both.sum())

    def draw(self, canvas: Canvas, sample: Sample, metadata: Any) -> None:
        """The class of each pixel; those without a label are left clear."""
        ids = sample[self.kind.sample_key].numpy()
        ignored = task_options(self.cfg, self.kind).IGNORE_VALUE
        canvas.add_class_map(np.where(ids == ignored, -1, ids), metadata, self.kind)

    def summary(self, labels: Labels) -> Summary:
        """See ``Inspector``."""
        if not labels.observed:
            return Summary(paragraph("No map was looked at."))
        summary = Summary(_html(labels), profiles=dict(_profiles(labels)))
        summary.suspicious += odd_class_maps(labels)
        summary.notes += notable_maps(labels)
        return summary


def _html(labels: Labels) -> str:
    pixels = np.stack([seen.pixels for seen in labels.observed])  # (N, C)
    void = sum(seen.void for seen in labels.observed)
    total = pixels.sum() + void
    text = f"{len(labels.records)} images have a map. Of the pixels of the {len(pixels)} samples looked at "
    text += f"{share(void, total)} are void: they have no label, and nothing is learnt from them."
    names, known = labels.names, labels.known()
    rows = {}
    most = max(pixels.sum(0).max(), 1)
    for i in range(pixels.shape[1]):
        name = names[i] if i < len(names) else f"id {i}"
        if i < len(known) and not known[i]:
            rows[name] = ["not annotated", ""]
            continue
        of_class = int(pixels[:, i].sum())
        rows[name] = [
            shaded(share(of_class, pixels.sum()), of_class / most),
            share((pixels[:, i] > 0).sum(), len(pixels)),
        ]
    columns = ["share of labelled pixels", "samples that show it"]
    return paragraph(text) + fold_long(rows, columns, "class", f"{len(rows)} classes of pixels")


def _profiles(labels: Labels) -> Iterator[tuple[str, Profile]]:
    features = np.stack([seen.features for seen in labels.observed])  # (N, C, 5)
    for i, name in enumerate(labels.names[: features.shape[1]]):
        of_class = features[:, i]
        of_class = of_class[np.isfinite(of_class).all(1)]
        if len(of_class):
            yield name, Profile(of_class)
