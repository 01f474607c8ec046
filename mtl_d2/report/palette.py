"""One colour for each class name, in boxes, masks and segmentations of all data sets of a page."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Color = tuple[int, int, int]  # RGB in [0, 255]

TRIES = 32  # colours of its own that a name may have
APART = 70.0  # distance in RGB from which two colours are told apart


class Palette:
    """Colours by class name.

    A name has the colour that the first data set gives it. Names without one get a colour that follows from the name
    itself, so that it is the same in every run, unless it is too near to another name's: then the next one.
    """

    def __init__(self, metadata: Iterable[Any], keys: Sequence[str] = ("thing_classes", "stuff_classes")) -> None:
        """Finds the colours of the classes that there are.

        Args:
            metadata: of the catalog, of all data sets.
            keys: of it, lists of names; colours stand at the key with "colors" in the place of "classes".
        """
        listed = list(metadata)
        self._colors: dict[str, Color] = {}
        for key in keys:
            for entry in listed:
                for name, color in _given(entry, key):
                    self._colors.setdefault(name, color)
        for key in keys:
            for entry in listed:
                for name in class_names(entry, key):
                    self[name]

    def __getitem__(self, name: str) -> Color:
        """The colour of a class, made where there is none yet."""
        if name not in self._colors:
            self._colors[name] = self._made(name)
        return self._colors[name]

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Some of the classes, each once, in the order in which the data sets list them."""
        wanted = set(names)
        return [name for name in self._colors if name in wanted]

    def _made(self, name: str) -> Color:
        used = list(self._colors.values())
        best, farthest = (0, 0, 0), -1.0
        for color in _candidates(name):
            distance = min((math.dist(color, taken) for taken in used), default=math.inf)
            if distance > farthest:
                best, farthest = color, distance
            if farthest >= APART:
                break
        return best


def class_names(metadata: Any, key: str) -> list[str]:
    """Names of a data set's classes, which its metadata have at ``key``."""
    return [str(name) for name in metadata.get(key, ()) or ()]


def class_name(names: list[str], category: int) -> str:
    """The name of a class id, or the id itself where no name has it."""
    return names[category] if 0 <= category < len(names) else str(category)


def _given(metadata: Any, key: str) -> Iterator[tuple[str, Color]]:
    """Names with the catalog's own colours; a colour that is none is left out."""
    colors = metadata.get(key.replace("classes", "colors"), None)
    for name, color in zip(class_names(metadata, key), () if colors is None else colors, strict=False):
        try:
            r, g, b = (min(max(round(float(value)), 0), 255) for value in color)
        except (TypeError, ValueError, OverflowError):
            continue
        yield name, (r, g, b)


def _candidates(name: str) -> Iterator[Color]:
    """Bright colours whose hues are spread by the golden ratio, beginning with one that follows from the name."""
    start = zlib.crc32(name.encode()) % 4096
    for i in range(start, start + TRIES):
        r, g, b = colorsys.hsv_to_rgb(i * 0.618034 % 1.0, 0.85 - 0.35 * (i % 3 == 1), 1.0 - 0.4 * (i % 4 == 2))
        yield round(255 * r), round(255 * g), round(255 * b)
