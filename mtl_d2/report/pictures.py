"""Predictions beside ground truth for some test images, as files that the report embeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as d2_io
from torch import nn

from mtl_d2 import data
from mtl_d2.data.reading import read_records
from mtl_d2.files import write_atomically
from mtl_d2.report.class_labels import draw_classes
from mtl_d2.report.drawing import Image, class_colors, draw
from mtl_d2.report.files import PICTURE_FOLDER, PICTURE_INDEX

__all__ = ["draw", "write_pictures"]

MAX_WIDTH = 960  # pixels of a written picture
JPEG_QUALITY = 82


def write_pictures(
    model: nn.Module, cfg: CfgNode, output_dir: str | Path, count: int = 6, score_threshold: float = 0.3
) -> Path:
    """Draws prediction and ground truth of some images of every test set.

    Writes `OUTPUT_DIR/pictures/<dataset>_<i>_{prediction,truth}.jpg` and their `index.json`. Call it on one process.

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
    entries = []
    names = tuple(cfg.DATASETS.TEST)
    things = _metadata_with("thing_classes", (*names, *cfg.DATASETS.TRAIN))
    stuff = _metadata_with("stuff_classes", (*names, *cfg.DATASETS.TRAIN))
    with _evaluating(model):
        for name in names:
            for i, (record, sample) in enumerate(_spread(cfg, name, count)):
                stem = folder / f"{name}_{i}"
                if "image" in record:
                    shown = _write_classes(model, record, MetadataCatalog.get(name), stem)
                else:
                    shown = _write_pair(model, record, sample, (things, stuff), stem, score_threshold)
                entries.append({"dataset": name, "image": Path(record["file_name"]).name, **shown})
    index = {
        "score_threshold": score_threshold,
        "legend": {"boxes": _legend(things, "thing"), "segmentation": _legend(stuff, "stuff")},
        "pictures": entries,
    }
    return write_atomically(folder / PICTURE_INDEX, json.dumps(index, indent=1))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards the mode of every submodule is what it was."""
    was_training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in was_training:
            module.training = training


def _spread(cfg: CfgNode, name: str, count: int) -> Iterator[tuple[dict, dict]]:
    """Records and mapped samples of `count` images, the middles of as many equal parts of the data set."""
    records = {record["file_name"]: record for record in read_records(name)}
    samples: Any = data.build_test_loader(cfg, name).dataset
    total = len(samples)
    for i in range(min(count, total)):
        sample = samples[int((i + 0.5) * total / min(count, total))]
        yield records[sample["file_name"]], sample


def _write_pair(
    model: nn.Module, record: dict, sample: dict, metadata: tuple[Any, Any], stem: Path, score_threshold: float
) -> dict[str, Any]:
    """Writes both pictures of an image; returns what the index says of them."""
    image = np.ascontiguousarray(d2_io.read_image(record["file_name"], format="RGB"))  # (H, W, 3)
    output = model([sample])[0]
    instances = output.get("instances")
    if instances is not None:
        instances = instances.to("cpu")
        instances = instances[instances.scores >= score_threshold]
    logits = output.get("sem_seg")  # (C, H, W)
    predicted = None if logits is None else logits.argmax(dim=0).cpu().numpy()
    truth = _true_segmentation(record)
    pictures = {
        "prediction": draw(image, *metadata, instances, predicted),
        "truth": draw(image, *metadata, record.get("annotations"), truth),
    }
    for kind, picture in pictures.items():
        _write_jpeg(stem.with_name(f"{stem.name}_{kind}.jpg"), picture)
    shows = {"boxes": "annotations" in record, "segmentation": truth is not None}
    files = {kind: f"{stem.name}_{kind}.jpg" for kind in pictures}
    return {**files, "labels": [label for label, shown in shows.items() if shown]}


def _write_classes(model: nn.Module, record: dict, metadata: Any, stem: Path) -> dict[str, Any]:
    """Writes an image that its record holds twice: with the classes that were found, and with the true ones."""
    found = model([record])[0]["classes"]
    truth = {task: record[task] for task in found if task in record}
    files = {}
    for kind, ids in (("prediction", found), ("truth", truth)):
        files[kind] = f"{stem.name}_{kind}.jpg"
        _write_jpeg(stem.with_name(files[kind]), draw_classes(record["image"].numpy(), ids, metadata))
    return {**files, "labels": list(truth)}


def _true_segmentation(record: dict) -> npt.NDArray | None:
    """Class ids (H, W) of a record, 255 = ignore; None where it is not labelled."""
    path, table = record.get("sem_seg_file_name"), record.get("sem_seg_table")
    if path is None:
        return None
    labels = np.asarray(d2_io.read_image(path)).squeeze()
    return (labels if table is None else np.frombuffer(table, np.uint8)[labels]).astype(np.int32)


def _write_jpeg(path: Path, picture: Image) -> None:
    height, width = picture.shape[:2]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, round(height * MAX_WIDTH / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"output_dir: the picture {path} cannot be written; free some space or choose another folder")


def _metadata_with(attribute: str, names: Sequence[str]) -> Any:
    """Catalog metadata of the first data set that has the attribute; of the first one where none has."""
    found = [MetadataCatalog.get(name) for name in names]
    return next((metadata for metadata in found if metadata.get(attribute)), found[0])


def _legend(metadata: Any, kind: str) -> list[list[str]]:
    """Class names with their colours as `#rrggbb`."""
    names = metadata.get(f"{kind}_classes", ()) or ()
    return [
        [str(name), "#{:02x}{:02x}{:02x}".format(*color)]
        for name, color in zip(names, class_colors(metadata, kind), strict=False)
    ]
