"""One picture of all tasks: what is drawn over the image, panels beside it, and a legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from mtl_d2.prediction.network import Network
from mtl_d2.prediction.results import Prediction
from mtl_d2.report.canvas import Canvas, lines_of_text
from mtl_d2.report.drawing import Image, letters, scale_of
from mtl_d2.report.palette import Palette
from mtl_d2.report.text import fitted, put

LAYOUTS = ("grid", "right", "below")
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass
class Artist:
    """Draws predictions.

    Attributes:
        network: whose they are.
        tasks: that are drawn.
        layout: of panels: "grid", "right" of the image or "below" it.
        beside: whether the image itself is shown as well.
        legend: whether the classes that are seen are named, in a free place of the grid or below.
        moving: whether images are frames of a video: pictures then are of the image's own size, numbers have the same
            colours in all of them, and the legend, which has a free place or none, names all classes.
        safe: whether colours are chosen for eyes that take red for green, in the place of the data sets' own.
    """

    network: Network
    tasks: Sequence[str]
    layout: str = "grid"
    beside: bool = False
    legend: bool = True
    moving: bool = False
    safe: bool = False
    palette: Palette = field(init=False)
    _spans: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Colours."""
        keys = dict.fromkeys(kind.classes_key for kind in self.network.kinds if kind.classes_key)
        self.palette = Palette(self.network.metadata.values(), list(keys), given=not self.safe)

    def draw(self, image: Image, prediction: Prediction) -> Image:
        """(H', W', 3) RGB of an image (H, W, 3) RGB and what was predicted of it."""
        canvas = Canvas(image, self.palette, spans=self._spans if self.moving else {})
        answers = prediction.answers()
        for kind in self.network.kinds:
            if kind.task in answers and kind.task in self.tasks:
                kind.draw_result(canvas, answers[kind.task], self.network.metadata[kind.task])
        scale = 1 if self.moving else scale_of(image)
        tiles = canvas.tiles(scale)
        shown = [tiles.picture.pixels, *(labelled(pixels, caption) for caption, pixels in tiles.panels)]
        if self.beside:
            shown.insert(0, image.repeat(scale, 0).repeat(scale, 1))
        columns = columns_of(len(shown), self.layout)
        if self.moving and len(shown) > 1:
            shown = [_shrunk(pixels, columns, -(-len(shown) // columns)) for pixels in shown]
        names = self.all_classes() if self.moving else self.palette.in_order(tiles.picture.classes)
        if self.legend and names and len(shown) % columns:
            shown.append(self._legend_tile(names, shown[0]))
            names = []
        parts = [arrange(shown, columns)]
        if self.moving and len(shown) > 1:
            parts = [_of_size(parts[0], *image.shape[:2])]
        if tiles.lines:
            parts.append(lines_of_text(tiles.lines, parts[0].shape[1]))
        if self.legend and names and not self.moving:
            parts.append(self.legend_of(names, parts[0].shape[1]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def all_classes(self) -> list[str]:
        """Names of all classes of the tasks that are drawn."""
        drawn = [names for task, names in self.network.classes.items() if task in self.tasks]
        return self.palette.in_order(name for names in drawn for name in names)

    def legend_of(self, names: Iterable[str], width: int, size: int = 0) -> Image:
        """(h, width, 3): a field of each class's colour, with its name in letters of ``size``."""
        size = size or letters(width)
        gap = max(4, size // 2)
        chosen = self.palette.in_order(names)
        entries = [(self.palette[name], fitted(name, size, width - 3 * size, BLACK, WHITE)) for name in chosen]
        row = max((word.shape[0] for _, word in entries), default=size) + 4
        places, x, y = [], gap, 0
        for color, word in entries:
            needed = size + gap // 2 + word.shape[1] + gap
            if x > gap and x + needed > width:
                x, y = gap, y + row
            places.append((x, y, color, word))
            x += needed
        strip = np.full((y + row + 2, width, 3), 255, np.uint8)
        for x, y, color, word in places:
            top = y + (row - size) // 2
            strip[top : top + size, x : x + size] = BLACK
            strip[top + 1 : top + size - 1, x + 1 : x + size - 1] = color
            put(strip, word, x + size + gap // 2, y + 2)
        return strip

    def _legend_tile(self, names: Sequence[str], like: Image) -> Image:
        """The legend in the largest letters that let it have the size of a tile."""
        height, width = like.shape[:2]
        tile = np.full_like(like, 255)
        for size in range(max(letters(width) * 3 // 2, 9), 7, -1):
            strip = self.legend_of(names, width, size)
            if strip.shape[0] <= height:
                break
        put(tile, strip, 0, 0)
        return tile


def labelled(pixels: Image, caption: str) -> Image:
    """A picture with a line of text in its upper left corner."""
    picture = pixels.copy()
    put(picture, fitted(caption, letters(picture.shape[1]), picture.shape[1], BLACK, WHITE), 0, 0)
    return picture


def columns_of(count: int, layout: str) -> int:
    """How many pictures of ``count`` stand side by side.

    Raises:
        ValueError: there is no such layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    return {"grid": math.ceil(math.sqrt(count)), "right": count, "below": 1}[layout]


def arrange(shown: Sequence[Image], columns: int) -> Image:
    """Pictures of one size in rows; what is left of the last row is white."""
    rows = [list(shown[i : i + columns]) for i in range(0, len(shown), columns)]
    rows[-1] += [np.full_like(shown[0], 255)] * (columns - len(rows[-1]))
    wide = [row[0] if columns == 1 else np.concatenate(row, axis=1) for row in rows]
    return wide[0] if len(wide) == 1 else np.concatenate(wide)


def _shrunk(pixels: Image, columns: int, rows: int) -> Image:
    """What fits into the picture's own size so many times, in its own proportions."""
    factor = max(columns, rows)
    size = (max(pixels.shape[1] // factor, 1), max(pixels.shape[0] // factor, 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _of_size(picture: Image, height: int, width: int) -> Image:
    """In the middle of a black picture of a size that is as large at least."""
    if picture.shape[:2] == (height, width):
        return picture
    whole = np.zeros((height, width, 3), np.uint8)
    put(whole, picture, (width - picture.shape[1]) // 2, (height - picture.shape[0]) // 2)
    return whole
