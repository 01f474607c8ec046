"""Predictions as files, by what they are: maps as PNG and arrays, objects as COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

from mtl_d2.files import naming
from mtl_d2.prediction.results import ClassMap, DepthMap, ImageClass, NormalsMap, Objects

PNG, NPY = "png", "npy"
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # maps are small at any level
DEPTH_FACTOR = 256.0  # KITTI's, the encoding "kitti" of our own data sets: up to 255.99 metres in steps of 4 mm
COLORS = "colors"  # ends the name of the folder of a class map's pictures


@dataclass(frozen=True)
class Place:
    """Where the files of a task's prediction of a frame go.

    Attributes:
        folder: of all predictions.
        task: name of the task.
        name: of the frame, without an end.
        formats: some of "png" and "npy".
        depth_factor: what depth is multiplied by in a PNG of 16 bits.
        colors: of classes, RGB, in the order of their ids.
    """

    folder: Path
    task: str
    name: str
    formats: frozenset[str]
    depth_factor: float = DEPTH_FACTOR
    colors: Sequence[tuple[int, int, int]] = ()

    def path(self, suffix: str, of: str = "") -> Path:
        """A file of the task's folder, or of one beside it."""
        folder = self.task.replace("/", "_") + (f"_{of}" if of else "")
        path = self.folder / folder / f"{self.name}.{suffix}"
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


@singledispatch
def save(result: Any, place: Place) -> None:
    """Writes what a task predicts of a frame; of kinds of your own only arrays, as ``.npy``."""
    if NPY in place.formats and isinstance(result, np.ndarray):
        _array(place.path(NPY), result)


@save.register
def _(result: ClassMap, place: Place) -> None:
    """Ids of classes, and their colours in a folder beside them."""
    if PNG in place.formats:
        _png(place.path(PNG), result.ids)
        table = np.zeros((256, 1, 3), np.uint8)
        table[: len(place.colors), 0] = np.reshape(place.colors, (-1, 3))[:, ::-1]
        _png(place.path(PNG, COLORS), np.asarray(cv2.applyColorMap(result.ids, table), np.uint8))
    if NPY in place.formats:
        _array(place.path(NPY), result.ids)


@save.register
def _(result: DepthMap, place: Place) -> None:
    """16 bits: depth times the factor, 0 = none; beyond 65535 it is cut."""
    if PNG in place.formats:
        _png(place.path(PNG), depth_levels(result.values, place.depth_factor))
    if NPY in place.formats:
        _array(place.path(NPY), result.values)


@save.register
def _(result: NormalsMap, place: Place) -> None:
    """8 bits: 127.5 (n + 1) for x, y and z as red, green and blue."""
    if PNG in place.formats:
        levels = np.rint((result.vectors.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
        _png(place.path(PNG), levels[..., ::-1])
    if NPY in place.formats:
        _array(place.path(NPY), result.vectors)


@save.register
def _(result: Objects, place: Place) -> None:
    """Masks (N, H, W) as an array; the rest is in COCO's JSON."""
    if NPY in place.formats and result.masks is not None:
        _array(place.path(NPY), result.masks)


@save.register
def _(result: ImageClass, place: Place) -> None:
    """Stands in the list of all frames."""


def depth_levels(depth: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.uint16]:
    """(H, W): depth times ``factor``, rounded, in [0, 65535]; NaN is 0."""
    return np.rint(np.nan_to_num(depth * factor, nan=0.0).clip(0, 65535)).astype(np.uint16)


def coco_objects(result: Objects) -> list[dict[str, Any]]:
    """As COCO's annotations have them: boxes x, y, width, height; masks as RLE; categories count from 1."""
    entries = []
    for i in range(len(result)):
        x0, y0, x1, y1 = result.boxes[i].tolist()
        entry: dict[str, Any] = {
            "category_id": int(result.class_ids[i]) + 1,
            "bbox": [round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)],
            "score": round(float(result.scores[i]), 4),
        }
        if result.masks is not None:
            coded = coco_masks.encode(np.asfortranarray(result.masks[i].view(np.uint8)))
            entry["segmentation"] = {"size": coded["size"], "counts": coded["counts"].decode("ascii")}
        entries.append(entry)
    return entries


def whole_image(answers: Mapping[str, Any]) -> dict[str, Any]:
    """By task, the class of a whole image, for the list of all frames."""
    return {
        task: {"class_id": answer.class_id, "class": answer.name}
        for task, answer in answers.items()
        if isinstance(answer, ImageClass)
    }


def _png(path: Path, pixels: npt.NDArray[Any]) -> None:
    written, content = cv2.imencode(".png", np.ascontiguousarray(pixels), FAST)
    assert written, path
    with naming(path):
        path.write_bytes(content.tobytes())


def _array(path: Path, values: npt.NDArray[Any]) -> None:
    with naming(path), open(path, "wb") as file:
        np.save(file, values)
