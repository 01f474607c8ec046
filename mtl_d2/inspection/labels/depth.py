"""Depth and disparity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtl_d2.data.dense_maps import METRES
from mtl_d2.inspection.bars import doubling, histogram
from mtl_d2.inspection.labels.base import Array, Inspector, Labels, Profile, Summary, inspector
from mtl_d2.inspection.suspicions.dense import odd_depth
from mtl_d2.report.markup import figure, grid, paragraph
from mtl_d2.tasks.base import Sample
from mtl_d2.tasks.depth import Depth

KEPT = 400  # values of a map
PERCENTILES = (2, 50, 98)


@dataclass(frozen=True)
class SeenDepth:
    """The map of a sample.

    Attributes:
        labelled: share of its pixels.
        values: at most ``KEPT`` of its labelled values, at equal distances in it.
        above: median of the upper third, NaN where nothing is labelled there.
        below: of the lower third.
    """

    labelled: float
    values: Array
    above: float
    below: float


@inspector.register(Depth)
class DepthInspector(Inspector):
    """Of tasks of depth."""

    def observe(self, sample: Sample, image: Array) -> SeenDepth:
        """See ``Inspector``."""
        depth = sample[self.kind.sample_key].numpy()
        labelled = np.isfinite(depth) & (depth > 0)
        values = depth[labelled]
        third = max(1, depth.shape[0] // 3)
        kept = values[np.linspace(0, len(values) - 1, min(KEPT, len(values))).astype(int)] if len(values) else values
        above, below = (_median(depth[rows][labelled[rows]]) for rows in (slice(None, third), slice(-third, None)))
        return SeenDepth(float(labelled.mean()), kept, above, below)

    def summary(self, labels: Labels) -> Summary:
        """See ``Inspector``."""
        values = depth_values(labels)
        unit = unit_of(labels)
        if not len(values):
            return Summary(paragraph("No depth above 0 was seen."))
        least, median, most = np.percentile(values, PERCENTILES)
        labelled = np.mean([seen.labelled for seen in labels.observed])
        text = (
            f"{len(labels.records)} images have a map, in {unit}. In the {len(labels.observed)} samples looked at "
            f"{100 * labelled:.3g} % of the pixels have a value; 2 % of them are below {least:.3g} {unit}, half below "
            f"{median:.3g}, 98 % below {most:.3g}."
        )
        shares, edges = doubling(values, least=1e-4, most=1e6, per_doubling=2 if most < 30 * least else 1)
        chart = histogram(shares, edges, title=f"histogram of {labels.kind.task}", x_label=unit)
        drawn = grid([figure(f"Values of {labels.kind.task}", chart, "Each bar is a span of values in proportion.")])
        # Compared with other sets by its logarithm, so that another unit is a shift.
        profile = Profile(np.log(values)[:, None])
        return Summary(paragraph(text) + drawn, odd_depth(labels, unit, values), profiles={f"depth in {unit}": profile})


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def depth_values(labels: Labels) -> Array:
    """(N,) those that were kept of all samples."""
    return np.concatenate([seen.values for seen in labels.observed]) if labels.observed else np.zeros(0)


def unit_of(labels: Labels) -> str:
    """What the data set says that its depth is in."""
    return str(labels.metadata.get(labels.kind.key("depth_unit"), METRES))
