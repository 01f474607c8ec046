"""Boxes, masks and semantic segmentation drawn over an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.structures import Instances

from mtl_d2.prediction.results import Objects
from mtl_d2.report.objects import DrawnObject, read_objects
from mtl_d2.report.palette import Color, Palette, class_name, class_names
from mtl_d2.report.text import fitted, put, readable_on

Image = npt.NDArray[np.uint8]

SMALL_WIDTH = 480  # pixels; narrower images are doubled, so that their labels can be read
SEGMENTATION_OPACITY = 0.5
OTHER_SIZE = "a segmentation of another size than the image"


@dataclass(frozen=True)
class Picture:
    """An image with what is drawn over it.

    Attributes:
        pixels: (s·H, s·W, 3) uint8, s = 2 for images narrower than `SMALL_WIDTH`, else 1.
        classes: names of those that can be seen.
        left_out: what could not be drawn, in words.
    """

    pixels: Image
    classes: frozenset[str]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassMap:
    """The class of each pixel of an image.

    Attributes:
        ids: (H, W).
        metadata: of the catalog.
        classes_key: of its names of the classes.
        ignored: the id of pixels without a class.
    """

    ids: npt.NDArray[np.integer]
    metadata: Any
    classes_key: str = "stuff_classes"
    ignored: Any = 255


def scale_of(image: Image) -> int:
    """What an image is enlarged by when it is drawn on."""
    return 2 if image.shape[1] < SMALL_WIDTH else 1


def draw(
    image_rgb: Image,
    metadata_things: Any,
    metadata_stuff: Any,
    instances: Instances | Objects | Sequence[dict] | None = None,
    sem_seg: npt.NDArray[np.integer] | None = None,
    palette: Palette | None = None,
    class_map: ClassMap | None = None,
    scale: int | None = None,
) -> Picture:
    """Draws boxes with their masks, and a segmentation, over an image.

    Args:
        image_rgb: (H, W, 3) uint8.
        metadata_things: catalog metadata with `thing_classes`.
        metadata_stuff: catalog metadata with `stuff_classes` and optionally `ignore_label`.
        instances: predictions on the CPU (`pred_boxes`, `pred_classes`, optionally `scores` and `pred_masks`), or a
            record's list of annotations, or results of ``mtl_d2.load``; all of them that can be are drawn.
        sem_seg: (H, W) class ids; `ignore_label` (255) and ids without a class are left clear.
        palette: colours of the classes; by default those of the metadata.
        class_map: in the place of ``sem_seg`` and ``metadata_stuff``.
        scale: what the image is enlarged by; None = by ``scale_of``.
    """
    palette = palette or Palette((metadata_things, metadata_stuff))
    if class_map is None and sem_seg is not None:
        class_map = ClassMap(sem_seg, metadata_stuff, ignored=metadata_stuff.get("ignore_label", 255))
    scale = scale_of(image_rgb) if scale is None else scale
    picture = np.array(_resized(image_rgb, scale, cv2.INTER_CUBIC), order="C")  # a copy that OpenCV can draw on
    classes: set[str] = set()
    left_out: list[str] = []
    if class_map is not None and np.shape(class_map.ids) != image_rgb.shape[:2]:
        left_out.append(f"{OTHER_SIZE}: {np.shape(class_map.ids)}, {image_rgb.shape[:2]}")
    elif class_map is not None:
        names = class_names(class_map.metadata, class_map.classes_key)
        ids = _without_ignored(class_map, len(names))
        picture = _overlay(picture, ids, [palette[name] for name in names], scale)
        classes.update(names[k] for k in _ids_in(ids) if 0 <= k < len(names))
    if instances is not None and len(instances):
        objects = read_objects(instances, *image_rgb.shape[:2])
        names = class_names(metadata_things, "thing_classes")
        labels = [class_name(names, drawn.category) for drawn in objects.drawn]
        picture = _draw_objects(picture, objects.drawn, labels, palette, scale)
        classes.update(labels)
        left_out += _in_words(objects.left_out)
    return Picture(picture, frozenset(classes), tuple(left_out))


def _without_ignored(class_map: ClassMap, count: int) -> npt.NDArray:
    """Ids (H, W) of which those below ``count`` are classes; ignored ones are not among them."""
    ids = _small_ids(np.asarray(class_map.ids), count)
    ignored = class_map.ignored
    if not isinstance(ignored, int | np.integer) or not 0 <= ignored < count:
        return ids
    return np.where(ids == ignored, ids.dtype.type(255 if ids.dtype == np.uint8 else -1), ids)


def _ids_in(ids: npt.NDArray) -> list[int]:
    if ids.dtype != np.uint8:
        return [int(k) for k in np.unique(ids)]
    counts = cv2.calcHist([ids], [0], None, [256], [0, 256])
    return [int(k) for k in np.flatnonzero(counts)]


def _draw_objects(
    picture: Image, objects: Sequence[DrawnObject], labels: Sequence[str], palette: Palette, scale: int
) -> Image:
    if not objects:
        return picture
    colors = [palette[label] for label in labels]
    if any(drawn.mask is not None for drawn in objects):
        few = len(objects) < 255
        ids = np.full(
            (picture.shape[0] // scale, picture.shape[1] // scale), 255 if few else -1, "uint8" if few else "i4"
        )
        for i in reversed(range(len(objects))):  # the first instance at a pixel is on top
            mask = objects[i].mask
            if mask is not None:
                ids[mask] = i
        picture = _overlay(picture, ids, colors, scale)
    boxes = np.array([drawn.box for drawn in objects]) * scale
    _draw_frames(picture, boxes, colors)
    texts = [
        label if drawn.score is None else f"{label} {drawn.score:.0%}"
        for drawn, label in zip(objects, labels, strict=True)
    ]
    _draw_labels(picture, boxes, texts, colors)
    return picture


def _in_words(left_out: Counter[str]) -> list[str]:
    return [f"{count} {'object' if count == 1 else 'objects'} {why}" for why, count in left_out.items()]


def _resized(array: npt.NDArray, scale: int, interpolation: int) -> npt.NDArray:
    if scale == 1:
        return np.ascontiguousarray(array)
    return cv2.resize(array, None, fx=scale, fy=scale, interpolation=interpolation)


def _overlay(picture: Image, ids: npt.NDArray, colors: Sequence[Color], scale: int) -> Image:
    """Half of the colour of its id over each pixel; ids (H, W) without a colour are left clear."""
    ids = _small_ids(ids, len(colors))
    paint: npt.NDArray
    clear: npt.NDArray
    if ids.dtype != np.uint8:
        known = (ids >= 0) & (ids < len(colors))
        table = np.asarray([*colors, (0, 0, 0)], dtype=np.uint8)
        paint, clear = table[np.where(known, ids, len(colors))], (~known).astype(np.uint8)
    else:
        table = np.zeros((256, 1, 3), dtype=np.uint8)
        table[: len(colors), 0] = np.reshape(colors, (-1, 3))
        paint, clear = cv2.applyColorMap(ids, table), cv2.inRange(ids, len(colors), 255)
    paint, clear = (_resized(array, scale, cv2.INTER_NEAREST) for array in (paint, clear))
    mixed = cv2.addWeighted(picture, 1 - SEGMENTATION_OPACITY, paint, SEGMENTATION_OPACITY, 0.0)
    return np.asarray(cv2.copyTo(picture, clear, mixed), dtype=np.uint8)


def _small_ids(ids: npt.NDArray, count: int) -> npt.NDArray:
    """As bytes, of which those from ``count`` on have no colour; as they are where there are too many colours."""
    if count > 255:
        return np.asarray(ids, dtype=np.int64)
    if ids.dtype == np.uint8:
        return np.ascontiguousarray(ids)
    return np.where((ids >= 0) & (ids < count), ids, 255).astype(np.uint8)


def _draw_frames(picture: Image, boxes: npt.NDArray, colors: Sequence[Color]) -> None:
    """Coloured frames with a dark or light rim, so that they stand out on a segmentation of any colour; in place."""
    unit = _unit_length(picture)
    for width, rim in ((2 * unit, True), (unit, False)):
        for (x0, y0, x1, y1), color in zip(np.rint(boxes).astype(int).tolist(), colors, strict=True):
            cv2.rectangle(picture, (x0, y0), (x1, y1), _rim(color) if rim else color, width)


def _rim(color: Color) -> Color:
    """Nearly white about dark colours, nearly black about bright ones; by luma (ITU-R BT.601)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (240, 240, 240) if luma < 64 else (16, 16, 16)


def _draw_labels(picture: Image, boxes: npt.NDArray, labels: Sequence[str], colors: Sequence[Color]) -> None:
    """A label at each box, the first ones on top and at their best places; in place.

    There is none in pictures so small that labels would cover them.
    """
    size = letters(picture.shape[1])
    height, width = picture.shape[:2]
    if height < 4 * size:
        return
    taken = np.zeros((0, 4))
    placed: list[tuple[Image, int, int]] = []
    for box, label, color in zip(np.rint(boxes).astype(int).tolist(), labels, colors, strict=True):
        pixels = fitted(label, size, width, readable_on(color), color)
        x, y = _place(box, pixels.shape[:2], (height, width), taken)
        placed.append((pixels, x, y))
        taken = np.concatenate([taken, [[x, y, x + pixels.shape[1], y + pixels.shape[0]]]])
    for pixels, x, y in reversed(placed):
        put(picture, pixels, x, y)


def _place(box: Sequence[int], label: Sequence[int], picture: Sequence[int], taken: npt.NDArray) -> tuple[int, int]:
    """Where a label (h, w) stands: above its box, else below it, or in a large one, where no other label is."""
    x0, y0, _, y1 = box
    x = max(min(x0, picture[1] - label[1]), 0)
    rows = [y0 - label[0], y1, *([y0] if y1 - y0 > 4 * label[0] else [])]
    places = [(x, max(min(y, picture[0] - label[0]), 0)) for y in rows]
    for px, py in places:
        meets = (taken[:, 0] < px + label[1]) & (px < taken[:, 2]) & (taken[:, 1] < py + label[0]) & (py < taken[:, 3])
        if not meets.any():
            return px, py
    return places[0]


def letters(width: int) -> int:
    """Size in pixels on a picture so wide, which is to be read where it is shown a third as wide."""
    return max(12, round(width / 58))


def _unit_length(picture: Image) -> int:
    """Width of a frame in pixels: 2 for a picture up to 1000 pixels wide."""
    return max(2, round(picture.shape[1] / 430))
