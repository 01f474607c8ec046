"""What the page says of boxes and masks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtl_d2.inspection.bars import doubling, histogram
from mtl_d2.inspection.labels.base import Array, Labels, share
from mtl_d2.report.markup import figure, folded, grid, paragraph, table

if TYPE_CHECKING:
    from mtl_d2.inspection.labels.objects import ObjectCounts

SHORT = 12  # rows of a table that is not folded
COCO_SIZES = "COCO calls objects below 32² = 1024 pixels small, and those from 96² = 9216 on large."


def object_html(labels: Labels, counts: ObjectCounts) -> str:
    """A sentence, a table of classes, and how large objects are."""
    objects, shown = sum(counts.objects.values()), counts.total - counts.empty
    text = (
        f"{objects} objects in {shown} of {counts.total} images"
        f"{f', {counts.empty} of which show none' if counts.empty else ''}"
        f"{f'; {counts.regions} regions are left out of the losses' if counts.regions else ''}."
    )
    return paragraph(text) + class_table(labels, counts) + grid(_figures(labels))


def class_table(labels: Labels, counts: ObjectCounts) -> str:
    """Objects and images of each class in all records, and its typical size as trained on."""
    names, known = labels.names, labels.known()
    total, medians = max(sum(counts.objects.values()), 1), _median_sizes(labels)
    most = max(counts.objects.values(), default=1)
    rows = {}
    for i in range(max(len(names), max(counts.objects, default=-1) + 1)):
        name = names[i] if i < len(names) else f"id {i}"
        if i < len(known) and not known[i] and not counts.objects[i]:
            rows[name] = ["not annotated", "", "", ""]
            continue
        number = shaded(f"{counts.objects[i]}", counts.objects[i] / max(most, 1))
        rows[name] = [number, str(counts.images[i]), share(counts.objects[i], total), medians.get(i, "-")]
    columns = ["objects", "images", "share of objects", "median size as trained, pixels"]
    return fold_long(rows, columns, "class", f"{len(rows)} classes of objects")


def fold_long(rows: dict[str, list[str]], columns: list[str], corner: str, title: str) -> str:
    """A table of HTML cells, folded where it is long."""
    cells = table(pd.DataFrame.from_dict(rows, orient="index", columns=columns), corner=corner)
    return cells if len(rows) <= SHORT else folded(title, cells)


def shaded(text: str, part: float) -> str:
    """A cell whose ground is the darker, the larger ``part`` of 1 is."""
    return f'<span class="shade" style="--s:{part:.3f}">{escape(text)}</span>'


def _median_sizes(labels: Labels) -> dict[int, str]:
    classes, sizes = _all(labels, "classes"), box_sides(labels)
    return {
        i: " x ".join(f"{side:.0f}" for side in np.median(sizes[classes == i], 0).tolist())
        for i in np.unique(classes).tolist()
    }


def box_sides(labels: Labels) -> Array:
    """(K, 2) width and height of all boxes of the samples, in pixels as trained on."""
    boxes = _all(labels, "boxes").reshape(-1, 4)
    return boxes[:, 2:] - boxes[:, :2]


def _all(labels: Labels, what: str) -> Any:
    parts = [getattr(seen, what) for seen in labels.observed]
    return np.concatenate(parts) if parts else np.zeros(0)


def _figures(labels: Labels) -> list[str]:
    sides = box_sides(labels)
    if not len(sides):
        return []
    areas = sides.prod(1)
    shares, edges = doubling(np.sqrt(areas), least=1, most=4096, per_doubling=2)
    small, large = (areas < 32**2).mean(), (areas >= 96**2).mean()
    caption = (
        f"Square roots of the areas of the {len(areas)} boxes of the samples looked at. {COCO_SIZES} Here "
        f"{100 * small:.0f} % are small, {100 * large:.0f} % are large."
    )
    chart = histogram(shares, edges, title="sizes of objects", x_label="square root of area, pixels as trained")
    figures = [figure("Sizes of objects", chart, caption)]
    per_image = np.array([len(seen.classes) for seen in labels.observed])
    most = max(int(per_image.max()), 1)
    width = max(1, -(-(most + 1) // 24))
    borders = np.arange(0, most + width + 1, width)
    counts = np.histogram(per_image, borders)[0] * 100 / len(per_image)
    chart = histogram(counts, [str(b) for b in borders], title="objects in an image", x_label="objects in an image")
    figures.append(figure("Objects in an image", chart, f"At most {most}, on average {per_image.mean():.3g}."))
    return figures
