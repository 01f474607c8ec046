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
from detectron2.utils.visualizer import Visualizer

from mtl_d2.report.objects import DrawnObject, read_objects
from mtl_d2.report.palette import Color, Palette, class_name, class_names

Image = npt.NDArray[np.uint8]

SMALL_WIDTH = 480  # pixels; narrower images are doubled, so that their labels can be read
SEGMENTATION_OPACITY = 0.5
POINTS_PER_UNIT = 4  # size of the labels' letters, in points per pixel of frame width
LABEL_HEIGHT = 1.9  # pixels that a label stands above its box, per point
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
    instances: Instances | Sequence[dict] | None = None,
    sem_seg: npt.NDArray[np.integer] | None = None,
    palette: Palette | None = None,
    class_map: ClassMap | None = None,
) -> Picture:
    """Draws boxes with their masks, and a segmentation, over an image.

    Args:
        image_rgb: (H, W, 3) uint8.
        metadata_things: catalog metadata with `thing_classes`.
        metadata_stuff: catalog metadata with `stuff_classes` and optionally `ignore_label`.
        instances: predictions on the CPU (`pred_boxes`, `pred_classes`, optionally `scores` and `pred_masks`), or a
            record's list of annotations; all of them that can be are drawn.
        sem_seg: (H, W) class ids; `ignore_label` (255) and ids without a class are left clear.
        palette: colours of the classes; by default those of the metadata.
        class_map: in the place of ``sem_seg`` and ``metadata_stuff``.
    """
    palette = palette or Palette((metadata_things, metadata_stuff))
    if class_map is None and sem_seg is not None:
        class_map = ClassMap(sem_seg, metadata_stuff, ignored=metadata_stuff.get("ignore_label", 255))
    scale = scale_of(image_rgb)
    picture = np.array(_resized(image_rgb, scale, cv2.INTER_CUBIC), order="C")  # a copy that OpenCV can draw on
    classes: set[str] = set()
    left_out: list[str] = []
    if class_map is not None and np.shape(class_map.ids) != image_rgb.shape[:2]:
        left_out.append(f"{OTHER_SIZE}: {np.shape(class_map.ids)}, {image_rgb.shape[:2]}")
    elif class_map is not None:
        ids = np.asarray(class_map.ids).astype(np.int32)
        ids = np.where(ids == class_map.ignored, -1, ids)
        names = class_names(class_map.metadata, class_map.classes_key)
        picture = _overlay(picture, ids, [palette[name] for name in names], scale)
        classes.update(names[k] for k in np.unique(ids).tolist() if 0 <= k < len(names))
    if instances is not None and len(instances):
        objects = read_objects(instances, *image_rgb.shape[:2])
        names = class_names(metadata_things, "thing_classes")
        labels = [class_name(names, drawn.category) for drawn in objects.drawn]
        picture = _draw_objects(picture, objects.drawn, labels, palette, scale)
        classes.update(labels)
        left_out += _in_words(objects.left_out)
    return Picture(picture, frozenset(classes), tuple(left_out))


def _draw_objects(
    picture: Image, objects: Sequence[DrawnObject], labels: Sequence[str], palette: Palette, scale: int
) -> Image:
    if not objects:
        return picture
    colors = [palette[label] for label in labels]
    ids = np.full((picture.shape[0] // scale, picture.shape[1] // scale), -1, dtype=np.int32)
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
    return _with_labels(picture, boxes, texts, colors)


def _in_words(left_out: Counter[str]) -> list[str]:
    return [f"{count} {'object' if count == 1 else 'objects'} {why}" for why, count in left_out.items()]


def _resized(array: npt.NDArray, scale: int, interpolation: int) -> npt.NDArray:
    if scale == 1:
        return np.ascontiguousarray(array)
    return cv2.resize(array, None, fx=scale, fy=scale, interpolation=interpolation)


def _overlay(picture: Image, ids: npt.NDArray, colors: Sequence[Color], scale: int) -> Image:
    """Half of the colour of its id over each pixel; ids (H, W) without a colour are left clear."""
    ids = _resized(ids, scale, cv2.INTER_NEAREST)
    known = (ids >= 0) & (ids < len(colors))
    table = np.asarray([*colors, (0, 0, 0)], dtype=np.float32)
    paint = table[np.where(known, ids, len(colors))]  # (H, W, 3)
    mixed = picture * (1 - SEGMENTATION_OPACITY) + paint * SEGMENTATION_OPACITY
    return np.where(known[..., None], mixed.round(), picture).astype(np.uint8)


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


def _with_labels(picture: Image, boxes: npt.NDArray, labels: Sequence[str], colors: Sequence[Color]) -> Image:
    visualizer = Visualizer(picture, scale=1.0)
    font_size = POINTS_PER_UNIT * _unit_length(picture)
    for (x0, y0, _, _), label, color in zip(boxes.tolist(), labels, colors, strict=True):
        position = (max(x0, 0.0), max(y0 - LABEL_HEIGHT * font_size, 0.0))
        pale = tuple((c + 2 * 255) / (3 * 255) for c in color)  # its background is dark
        visualizer.draw_text(label, position, font_size=font_size, color=pale, horizontal_alignment="left")
    return np.array(visualizer.output.get_image())


def _unit_length(picture: Image) -> int:
    """Width of a frame in pixels: 2 for a picture 640 pixels wide."""
    return max(2, round(picture.shape[1] / 320))
