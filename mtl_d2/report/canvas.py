"""Pictures of one image, into which every kind of task draws what it has to show.

Objects and the first class map are drawn over the image itself. What covers it, such as a further class map or a map of
depth, is a panel of its own below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from detectron2.data.catalog import Metadata

from mtl_d2.report.drawing import OTHER_SIZE, ClassMap, Image, Picture, draw, scale_of
from mtl_d2.report.palette import Palette, class_name

LINE = 20  # pixels of a line of text
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
SMALLEST = 216  # pixels; narrower images, such as digits, are enlarged by a whole factor


@dataclass
class Canvas:
    """What is drawn of one image.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        palette: colours of the classes.
        score_threshold: objects with a lower score, in [0, 1], are not drawn.
        spans: by task, the numbers that its colours span. The first map that is drawn of it says them, for all
            canvases that share the dict.
    """

    image: Image
    palette: Palette
    score_threshold: float = 0.0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    _objects: tuple[Any, Any] | None = None
    _maps: list[tuple[str, ClassMap]] = field(default_factory=list)
    _panels: list[tuple[str, Image]] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _left_out: list[str] = field(default_factory=list)

    def add_objects(self, objects: Any, metadata: Any) -> None:
        """Boxes with their masks: ``Instances`` on the CPU, or a record's annotations.

        Args:
            objects: those that there are.
            metadata: with ``thing_classes``.
        """
        self._objects = objects, metadata

    def add_class_map(self, ids: npt.NDArray[np.integer], metadata: Any, kind: Any) -> None:
        """The class of each pixel.

        Args:
            ids: (H, W); what has no name in the metadata, or is ignored, is left clear.
            metadata: with the names of the classes.
            kind: the task; its ``classes_key`` says which names.
        """
        ignored = metadata.get(kind.key("ignore_label"), 255)
        self._maps.append((kind.task, ClassMap(ids, metadata, kind.classes_key, ignored)))

    def add_panel(self, caption: str, pixels: Image) -> None:
        """A picture of its own, below the image.

        Args:
            caption: a short line of ASCII, with units and range where colours mean numbers.
            pixels: (H, W, 3) uint8, RGB, of the image's size.
        """
        if pixels.shape != self.image.shape:
            self._left_out.append(f"{caption}: {OTHER_SIZE}: {pixels.shape[:2]}, {self.image.shape[:2]}")
        else:
            self._panels.append((caption, pixels))

    def add_class(self, what: str, category: int, names: Sequence[str]) -> None:
        """The class of the whole image, as a line below it."""
        self._lines.append(f"{what}: {class_name([str(name) for name in names], category)}")

    def of_one_task(self) -> tuple[str, Picture]:
        """What a task that has the canvas for itself has drawn: its panel with the caption, or the image under it."""
        if not self._panels:
            return "", self.picture()
        caption, pixels = self._panels[-1]
        return caption, Picture(pixels, frozenset(), tuple(self._left_out))

    def picture(self) -> Picture:
        """All of it, from top to bottom."""
        factor = max(1, SMALLEST // self.image.shape[1]) if self._lines else 1
        image = self.image.repeat(factor, 0).repeat(factor, 1)
        objects, things = self._objects or (None, Metadata())
        first = self._maps[0][1] if self._maps else None
        shown = [draw(image, things, Metadata(), objects, palette=self.palette, class_map=first)]
        scale = 1 if self._lines else scale_of(image)
        for task, ids in self._maps[1:]:
            drawn = draw(image, things, Metadata(), palette=self.palette, class_map=ids)
            shown.append(Picture(_captioned(drawn.pixels, task), drawn.classes, drawn.left_out))
        parts = [picture.pixels for picture in shown]
        parts += [_captioned(pixels.repeat(scale, 0).repeat(scale, 1), caption) for caption, pixels in self._panels]
        if self._lines:
            parts = [np.concatenate([image, _text(self._lines, image.shape[1])])]
        return Picture(
            np.concatenate(parts),
            frozenset().union(*(picture.classes for picture in shown)),
            (*self._left_out, *(line for picture in shown for line in picture.left_out)),
        )


def _captioned(pixels: Image, caption: str) -> Image:
    return np.concatenate([_text([caption], pixels.shape[1]), pixels])


def _text(lines: Sequence[str], width: int) -> Image:
    """A white strip with a line of text for each of ``lines``, smaller where it would not fit."""
    strip = np.full((LINE * len(lines) + 4, width, 3), 255, np.uint8)
    for i, line in enumerate(lines, 1):
        (length, _), _ = cv2.getTextSize(line, FONT, FONT_SCALE, 1)
        scale = FONT_SCALE * min(1.0, (width - 8) / max(length, 1))
        cv2.putText(strip, line, (4, LINE * i - 4), FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
