"""Pictures of one image, into which every kind of task draws what it has to show.

Objects and the first class map are drawn over the image itself. What covers it, such as a further class map or a map of
depth, is a panel of its own below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.data.catalog import Metadata

from mtl_d2.report.drawing import OTHER_SIZE, ClassMap, Image, Picture, draw, letters, scale_of
from mtl_d2.report.palette import Palette, class_name
from mtl_d2.report.text import fitted, put, word

SMALLEST = 216  # pixels; narrower images, such as digits, are enlarged by a whole factor


@dataclass(frozen=True)
class Tiles:
    """What is shown of one image, to be put together.

    Attributes:
        picture: the image with what is drawn over it; its classes and what was left out are of all tiles.
        panels: further pictures of its size, with captions.
        lines: of text.
    """

    picture: Picture
    panels: tuple[tuple[str, Image], ...]
    lines: tuple[str, ...]


@dataclass
class Canvas:
    """What is drawn of one image.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        palette: colours of the classes.
        score_threshold: objects with a lower score, in [0, 1], are not drawn.
        spans: by task, the numbers that its colours span. The first map that is drawn of it says them, for all
            canvases that share the dict.
        keys: by task, what the colours of its panel mean, as ``mtl_d2.report.color_keys`` has it.
    """

    image: Image
    palette: Palette
    score_threshold: float = 0.0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
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
            caption: a short line, with units and range where colours mean numbers.
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

    def tiles(self, scale: int = 1) -> Tiles:
        """The image with what is drawn over it, and each panel, without captions.

        Args:
            scale: what all of them are enlarged by.
        """
        objects, things = self._objects or (None, Metadata())
        first = self._maps[0][1] if self._maps else None
        over = draw(self.image, things, Metadata(), objects, palette=self.palette, class_map=first, scale=scale)
        shown = [over]
        panels = []
        for task, ids in self._maps[1:]:
            drawn = draw(self.image, things, Metadata(), palette=self.palette, class_map=ids, scale=scale)
            panels.append((task, drawn.pixels))
            shown.append(drawn)
        panels += [(caption, pixels.repeat(scale, 0).repeat(scale, 1)) for caption, pixels in self._panels]
        classes = frozenset().union(*(picture.classes for picture in shown))
        left_out = (*self._left_out, *(line for picture in shown for line in picture.left_out))
        return Tiles(Picture(over.pixels, classes, left_out), tuple(panels), tuple(self._lines))

    def picture(self) -> Picture:
        """All of it, from top to bottom."""
        if self._lines:
            factor = max(1, SMALLEST // self.image.shape[1])
            image = self.image.repeat(factor, 0).repeat(factor, 1)
            drawn = self.tiles(factor).picture
            parts = [image, lines_of_text(self._lines, image.shape[1])]
        else:
            tiles = self.tiles(scale_of(self.image))
            drawn = tiles.picture
            parts = [drawn.pixels, *(captioned(pixels, caption) for caption, pixels in tiles.panels)]
        return Picture(np.concatenate(parts), drawn.classes, drawn.left_out)


def captioned(pixels: Image, caption: str) -> Image:
    """A picture under a line of text."""
    return np.concatenate([lines_of_text([caption], pixels.shape[1]), pixels])


def lines_of_text(lines: Sequence[str], width: int) -> Image:
    """A white strip with a line of text for each of ``lines``, in smaller letters where it would not fit."""
    size = letters(width)
    words = [fitted(line, size, width, (0, 0, 0), (255, 255, 255)) for line in lines]
    height = word("", size, (0, 0, 0), (255, 255, 255)).shape[0]
    strip = np.full((height * len(lines), width, 3), 255, np.uint8)
    for i, pixels in enumerate(words):
        put(strip, pixels, 0, height * i + (height - pixels.shape[0]) // 2)
    return strip
