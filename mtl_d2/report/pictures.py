"""Predictions beside ground truth for some test images, as files that the report embeds."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import nn

from mtl_d2 import data
from mtl_d2.data.addresses import shown_name
from mtl_d2.data.images import read_file
from mtl_d2.data.reading import read_records
from mtl_d2.files import write_atomically
from mtl_d2.report.canvas import Canvas
from mtl_d2.report.drawing import Image
from mtl_d2.report.file_names import PICTURE_FOLDER, PICTURE_INDEX
from mtl_d2.report.jpeg import write_jpeg
from mtl_d2.report.palette import Palette
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import kinds_of

JPEG_QUALITY = 82
LONGEST = 300  # letters of a reason

logger = logging.getLogger(__name__)


def write_pictures(
    model: nn.Module, cfg: CfgNode, output_dir: str | Path, count: int = 6, score_threshold: float = 0.3
) -> Path:
    """Draws prediction and ground truth of some images of every test set.

    Writes `OUTPUT_DIR/pictures/<dataset>_<i>_{prediction,truth}.jpg` and their `index.json`. A picture that cannot be
    drawn is left out and named there with the reason, whatever it is: a report has more than pictures. Call it on one
    process.

    Args:
        model: a detectron2 model; it is run in evaluation mode and left in the mode it came in.
        cfg: names the test sets, `DATASETS.TEST`.
        output_dir: the run's folder.
        count: images per data set, evenly spread over it, at least 1.
        score_threshold: boxes with a lower score, in [0, 1], are not drawn.

    Returns:
        The path of the index.

    Raises:
        ValueError: if `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1 picture per data set, found {count}")
    folder = Path(output_dir) / PICTURE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    artist = _Artist(model, cfg, folder, score_threshold)
    with evaluating(model):
        for name in cfg.DATASETS.TEST:
            artist.draw_some(cfg, name, count)
    seen = {name for entry in artist.entries for name in entry["classes"]}
    index = {
        "score_threshold": score_threshold,
        "colors": {name: "#{:02x}{:02x}{:02x}".format(*artist.palette[name]) for name in artist.palette.in_order(seen)},
        "pictures": artist.entries,
        "failed": artist.failed,
    }
    return write_atomically(folder / PICTURE_INDEX, json.dumps(index, indent=1))


class _Artist:
    """Draws pictures into a folder, and notes what the index says of them."""

    def __init__(self, model: nn.Module, cfg: CfgNode, folder: Path, score_threshold: float) -> None:
        self.model, self.folder, self.score_threshold = model, folder, score_threshold
        train, test = (tuple(names) for names in (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST))
        self.kinds = first_of_each(kinds_of(cfg.MTL.TASKS))
        self.palette = palette_of(cfg, self.kinds)
        # A prediction's classes are those that were trained; a label's are those of its own data set, if it has any.
        self.names = (*train, *test)
        self.entries: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    def draw_some(self, cfg: CfgNode, name: str, count: int) -> None:
        """Pictures of `count` images of a test set, the middles of as many equal parts of it."""
        try:
            records = {record["file_name"]: record for record in read_records(name)}
            samples: Any = data.build_test_loader(cfg, name).dataset
            total = len(samples)
        except Exception as error:  # noqa: BLE001  # named on the page
            self._fail(name, "all images", error)
            return
        for i in range(min(count, total)):
            image = f"image {int((i + 0.5) * total / min(count, total))} of {total}"
            try:
                sample = samples[int((i + 0.5) * total / min(count, total))]
                image = shown_name(sample["file_name"])
                shown = self._write(records[sample["file_name"]], sample, name, f"{name}_{i}")
            except Exception as error:  # noqa: BLE001  # named on the page
                self._fail(name, image, error)
            else:
                self.entries.append({"dataset": name, "image": image, **shown})

    def _fail(self, dataset: str, image: str, error: Exception) -> None:
        line = " ".join(str(error).split())[:LONGEST]
        reason = line if isinstance(error, data.DataError) else f"{type(error).__name__}: {line}"
        if not any(entry["dataset"] == dataset and entry["reason"] == reason for entry in self.failed):
            logger.warning("no picture of %s, %s: %s", dataset, image, reason)
            logger.debug("", exc_info=error)
        self.failed.append({"dataset": dataset, "image": image, "reason": reason})

    def _write(self, record: dict, sample: dict, name: str, stem: str) -> dict[str, Any]:
        """Writes both pictures of an image; returns what the index says of them."""
        image = image_of(record)
        output = self.model([record if "image" in record else sample])[0]
        spans: dict[str, tuple[float, float]] = {}  # of both, and the truth says them
        predicted, true = (Canvas(image, self.palette, self.score_threshold, spans) for _ in range(2))
        labels = [kind for kind in self.kinds if kind.record_key in record]
        for kind in labels:
            kind.draw_truth(true, record, self._metadata(kind, name))
        for kind in self.kinds:
            if kind.sample_key in output:
                kind.draw_prediction(predicted, output[kind.sample_key], self._metadata(kind))
        pictures = {"prediction": predicted.picture(), "truth": true.picture()}
        for what, picture in pictures.items():
            write_jpeg(self.folder / f"{stem}_{what}.jpg", picture.pixels, JPEG_QUALITY, "output_dir")
        return {
            **{what: f"{stem}_{what}.jpg" for what in pictures},
            "labels": [kind.task for kind in labels],
            "keys": {**true.keys, **predicted.keys},
            "classes": self.palette.in_order(frozenset().union(*(p.classes for p in pictures.values()))),
            "left_out": {what: list(picture.left_out) for what, picture in pictures.items() if picture.left_out},
        }

    def _metadata(self, kind: TaskKind, *first: str) -> Any:
        return metadata_of(kind, (*first, *self.names))


def metadata_of(kind: TaskKind, names: Sequence[str]) -> Any:
    """Catalog metadata with the names of a task's classes, of the first of some data sets that has them."""
    return MetadataCatalog.get(next((name for name in names if kind.class_names(name)), names[0]))


def palette_of(cfg: CfgNode, kinds: Sequence[TaskKind]) -> Palette:
    """Colours of the classes of all data sets of a run."""
    keys = dict.fromkeys(kind.classes_key for kind in kinds if kind.classes_key)
    return Palette((MetadataCatalog.get(name) for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN)), list(keys))


def image_of(record: Mapping[str, Any]) -> Image:
    """(H, W, 3) RGB of a record, which may hold it itself, and labels with it."""
    image = as_rgb(record["image"].numpy()) if "image" in record else read_file(record["file_name"], "RGB")
    return np.ascontiguousarray(image)


def as_rgb(image: npt.NDArray[np.uint8]) -> Image:
    """(1 or 3, H, W) grey or RGB -> (H, W, 3)."""
    return np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards the mode of every submodule is what it was."""
    was_training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in was_training:
            module.training = training
