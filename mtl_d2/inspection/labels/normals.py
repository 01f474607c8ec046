"""Surface normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtl_d2.inspection.labels.base import Array, Inspector, Labels, Summary, inspector
from mtl_d2.inspection.suspicions.dense import odd_normals
from mtl_d2.report.markup import paragraph, table
from mtl_d2.tasks.base import Sample
from mtl_d2.tasks.normals import Normals

AWAY = 0.1  # z of a normal from which on it clearly points away from the camera, or below 0 at it
AXES = ("x, to the right", "y, down", "z, away from the camera")


@dataclass(frozen=True)
class SeenNormals:
    """The map of a sample.

    Attributes:
        labelled: share of its pixels.
        mean: (3,) of the labelled normals.
        below: (3,) of those in the lower third, NaN where nothing is labelled there.
        away: share of those that clearly point along the view which point away from the camera.
        lengths: share of normals whose length is not 1.
        spread: (3,) standard deviations.
    """

    labelled: float
    mean: Array
    below: Array
    away: float
    lengths: float
    spread: Array


@inspector.register(Normals)
class NormalsInspector(Inspector):
    """Of tasks of normals."""

    def observe(self, sample: Sample, image: Array) -> SeenNormals | None:
        """See ``Inspector``."""
        normals = sample[self.kind.sample_key].numpy().transpose(1, 2, 0)  # (H, W, 3)
        labelled = (normals != 0).any(-1)
        values = normals[labelled]
        if not len(values):
            return None
        third = max(1, len(normals) // 3)
        below = normals[-third:][labelled[-third:]]
        along = values[np.abs(values[:, 2]) > AWAY, 2]
        return SeenNormals(
            float(labelled.mean()),
            values.mean(0),
            below.mean(0) if len(below) else np.full(3, np.nan),
            float((along > 0).mean()) if len(along) else 0.0,
            float((np.abs(np.linalg.norm(values, axis=1) - 1) > 0.1).mean()),
            values.std(0),
        )

    def summary(self, labels: Labels) -> Summary:
        """See ``Inspector``."""
        seen = [one for one in labels.observed if one is not None]
        if not seen:
            return Summary(paragraph("No normal was seen."))
        labelled = np.mean([one.labelled for one in seen])
        text = (
            f"{len(labels.records)} images have a map. In the {len(seen)} samples looked at {100 * labelled:.3g} % of "
            "the pixels have a normal. Floors and roads face up, so y is below 0 there; what is seen faces the camera, "
            "so z is below 0."
        )
        whole, below, spread = (
            np.nanmean([getattr(one, what) for one in seen], axis=0) for what in ("mean", "below", "spread")
        )
        rows = {
            axis: [f"{mean:.2f}", f"{of_below:.2f}", f"{deviation:.2f}"]
            for axis, mean, of_below, deviation in zip(AXES, whole, below, spread, strict=True)
        }
        columns = ["mean", "mean of the lower third", "standard deviation in an image"]
        cells = table(pd.DataFrame.from_dict(rows, orient="index", columns=columns), corner="component")
        return Summary(paragraph(text) + cells, odd_normals(labels))
