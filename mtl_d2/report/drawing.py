"""Boxes, masks and semantic segmentation drawn over an image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.structures import BoxMode, Instances
from detectron2.utils.visualizer import GenericMask, Visualizer

Image = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

SMALL_WIDTH = 480  # pixels; narrower images are doubled, so that their labels can be read
SEGMENTATION_OPACITY = 0.5
POINTS_PER_UNIT = 4  # size of the labels' letters, in points per pixel of frame width
LABEL_HEIGHT = 1.9  # pixels that a label stands above its box, per point


def draw(
    image_rgb: Image,
    metadata_things: Any,
    metadata_stuff: Any,
    instances: Instances | Sequence[dict] | None = None,
    sem_seg: npt.NDArray[np.integer] | None = None,
) -> Image:
    """Draws boxes with their masks, and a segmentation, over an image.

    Args:
        image_rgb: (H, W, 3) uint8.
        metadata_things: catalog metadata with `thing_classes` and optionally `thing_colors`.
        metadata_stuff: catalog metadata with `stuff_classes` and optionally `stuff_colors`, `ignore_label`.
        instances: predictions on the CPU (`pred_boxes`, `pred_classes`, optionally `scores` and `pred_masks`), all of
            which are drawn, or a record's list of annotations.
        sem_seg: (H, W) class ids; `ignore_label` (255) and ids without a class are left clear.

    Returns:
        (s·H, s·W, 3) uint8, s = 2 for images narrower than `SMALL_WIDTH`, else 1.
    """
    scale = 2 if image_rgb.shape[1] < SMALL_WIDTH else 1
    picture = np.array(_resized(image_rgb, scale, cv2.INTER_CUBIC), order="C")  # a copy that OpenCV can draw on
    if sem_seg is not None:
        ids = _resized(np.asarray(sem_seg).astype(np.int32), scale, cv2.INTER_NEAREST)
        clear = ids == metadata_stuff.get("ignore_label", 255)
        picture = _overlay(picture, np.where(clear, -1, ids), class_colors(metadata_stuff, "stuff"))
    if instances is None:
        return picture
    boxes, classes, scores = _boxes(instances)
    if not len(boxes):
        return picture
    palette = class_colors(metadata_things, "thing")
    colors = [palette[c] if c < len(palette) else (255, 255, 255) for c in classes]
    ids = np.full(image_rgb.shape[:2], -1, dtype=np.int32)  # of the first instance at each pixel
    for mask, category in reversed(list(zip(_masks(instances, *image_rgb.shape[:2]), classes, strict=True))):
        ids[mask] = category
    picture = _overlay(picture, _resized(ids, scale, cv2.INTER_NEAREST), palette)
    _draw_frames(picture, boxes * scale, colors)
    names = list(metadata_things.get("thing_classes", ()) or ())
    labels = [_label(names, c, s) for c, s in zip(classes, scores, strict=True)]
    return _with_labels(picture, boxes * scale, labels, colors)


def class_colors(metadata: Any, kind: str) -> list[Color]:
    """RGB colours in [0, 255] of a catalog's classes: the catalog's own, else hues spread by the golden ratio.

    Args:
        metadata: catalog metadata.
        kind: `thing` or `stuff`.
    """
    names = metadata.get(f"{kind}_classes", ()) or ()
    own = metadata.get(f"{kind}_colors", None)
    if own is not None and len(own) >= len(names):
        return [(int(r), int(g), int(b)) for r, g, b in own]
    colors = []
    for i in range(len(names)):
        r, g, b = colorsys.hsv_to_rgb((0.02 + i * 0.618034) % 1.0, 0.75 - 0.2 * (i % 2), 1.0 - 0.15 * (i % 3))
        colors.append((round(255 * r), round(255 * g), round(255 * b)))
    return colors


def _resized(array: npt.NDArray, scale: int, interpolation: int) -> npt.NDArray:
    if scale == 1:
        return np.ascontiguousarray(array)
    return cv2.resize(array, None, fx=scale, fy=scale, interpolation=interpolation)


def _overlay(picture: Image, ids: npt.NDArray, colors: Sequence[Color]) -> Image:
    known = (ids >= 0) & (ids < len(colors))
    table = np.asarray([*colors, (0, 0, 0)], dtype=np.float32)
    paint = table[np.where(known, ids, len(colors))]  # (H, W, 3)
    mixed = picture * (1 - SEGMENTATION_OPACITY) + paint * SEGMENTATION_OPACITY
    return np.where(known[..., None], mixed.round(), picture).astype(np.uint8)


def _boxes(instances: Instances | Sequence[dict]) -> tuple[npt.NDArray, list[int], list[float | None]]:
    """Boxes (N, 4) as x0, y0, x1, y1 in pixels, class ids and scores (None for ground truth)."""
    if isinstance(instances, Instances):
        boxes = instances.pred_boxes.tensor.detach().numpy().reshape(-1, 4)
        classes = [int(c) for c in instances.pred_classes]
        scores = [float(s) for s in instances.scores] if instances.has("scores") else [None] * len(classes)
        return boxes, classes, list(scores)
    corners = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in instances]
    return (
        np.asarray(corners, dtype=np.float64).reshape(-1, 4),
        [int(a["category_id"]) for a in instances],
        [None] * len(corners),
    )


def _masks(instances: Instances | Sequence[dict], height: int, width: int) -> Iterator[npt.NDArray[np.bool_]]:
    """The pixels (H, W) of each instance; none of one without a mask."""
    if not isinstance(instances, Instances):
        yield from (_true_mask(one.get("segmentation"), height, width) for one in instances)
    elif instances.has("pred_masks"):
        yield from instances.pred_masks.numpy().astype(bool)
    else:
        yield from np.zeros((len(instances), height, width), dtype=bool)


def _true_mask(shape: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The pixels (H, W) of an annotation's polygons or RLE; none where there is no mask of this size."""
    if isinstance(shape, list):
        shape = [polygon for polygon in shape if len(polygon) >= 6]
    if not shape or (isinstance(shape, dict) and tuple(shape["size"]) != (height, width)):
        return np.zeros((height, width), dtype=bool)
    return GenericMask(shape, height, width).mask.astype(bool)


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
        pale = tuple((c + 255) / 510 for c in color)
        visualizer.draw_text(label, position, font_size=font_size, color=pale, horizontal_alignment="left")
    return np.array(visualizer.output.get_image())


def _unit_length(picture: Image) -> int:
    """Width of a frame in pixels: 2 for a picture 640 pixels wide."""
    return max(2, round(picture.shape[1] / 320))


def _label(names: Sequence[str], category: int, score: float | None) -> str:
    name = names[category] if category < len(names) else str(category)
    return name if score is None else f"{name} {score:.0%}"
