"""A contact sheet: some images of a data set with their pseudo labels, to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.data.catalog import Metadata

from mtl_d2.files import replacing
from mtl_d2.pseudo_labels.folder import attach
from mtl_d2.pseudo_labels.manifest import TaskLabels, read_manifest
from mtl_d2.pseudo_labels.places import SHEET
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.drawing import Image
from mtl_d2.report.palette import Palette
from mtl_d2.report.pictures import image_of
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import is_known, kinds_of
from mtl_d2.tasks.sources import PSEUDO, unprefixed

COLUMNS, ROWS = 3, 4
WIDTH = 480  # pixels of a picture
GAP = 6  # pixels between two


def write_sheet(folder: Path, dataset: str, records: Sequence[dict[str, Any]]) -> Path:
    """Draws the finished labels of all tasks on images that are spread evenly over the data set.

    Args:
        folder: of pseudo labels.
        dataset: its name.
        records: all of it.

    Returns:
        the path of a PNG.
    """
    manifest = read_manifest(folder)
    tasks = [task for task, labels in manifest.items() if labels.datasets.get(dataset) and is_known(task)]
    count = min(len(records), COLUMNS * ROWS)
    chosen = [records[int((i + 0.5) * len(records) / count)] for i in range(count)]
    kinds = first_of_each(kinds_of(tasks))
    classes = {kind.classes_key: manifest[kind.task].classes for kind in kinds}
    shown = attach(chosen, dataset, folder, tasks, classes)
    metadata = _metadata(kinds, manifest)
    palette = Palette([metadata], list(classes))
    cells = [_cell(record, kinds, metadata, palette) for record in shown]
    rows = [cells[i : i + COLUMNS] for i in range(0, count, COLUMNS)]
    sheet = np.concatenate([_row(row) for row in rows])
    path = folder / dataset / SHEET
    with replacing(path) as file:
        file.write(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return path


def _metadata(kinds: Sequence[TaskKind], manifest: Mapping[str, TaskLabels]) -> Metadata:
    """The teachers' classes; the data set itself may have no names for them."""
    metadata = Metadata()
    metadata.set(**{kind.classes_key: manifest[kind.task].classes for kind in kinds})
    return metadata


def _cell(record: dict[str, Any], kinds: Sequence[TaskKind], metadata: Any, palette: Palette) -> Image:
    """One image with its labels, ``WIDTH`` wide."""
    canvas = Canvas(image_of(record), palette)
    labelled = unprefixed(record, PSEUDO)
    for kind in kinds:
        if kind.is_in_record(labelled):
            kind.draw_truth(canvas, labelled, metadata)
    pixels = canvas.picture().pixels
    height = round(pixels.shape[0] * WIDTH / pixels.shape[1])
    return cv2.resize(pixels, (WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _row(cells: Sequence[Image]) -> Image:
    """Beside each other on white, the height of the highest; ``COLUMNS`` wide."""
    height = max(cell.shape[0] for cell in cells)
    row = np.full((height + GAP, COLUMNS * (WIDTH + GAP), 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        row[: cell.shape[0], i * (WIDTH + GAP) : i * (WIDTH + GAP) + WIDTH] = cell
    return row
