"""One colour for each class name, in boxes, masks and segmentations of all data sets of a page."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

Color = tuple[int, int, int]  # RGB in [0, 255]

TRIES = 32  # colours of its own that a name may have
APART = 70.0  # distance in RGB from which two colours are told apart
# What is left of linear RGB where the cones for red, or those for green, are missing: Machado, Oliveira and Fernandes,
# "A physiologically-based model for simulation of color vision deficiency", TVCG 2009, table 1, severity 1.
MISSING_CONES = (
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
)


class Palette:
    """Colours by class name.

    A name has the colour that the first data set gives it. Names without one get a colour that follows from the name
    itself, so that it is the same in every run, unless it is too near to another name's: then the next one.
    """

    def __init__(
        self,
        metadata: Iterable[Any],
        keys: Sequence[str] = ("thing_classes", "stuff_classes"),
        given: bool = True,
    ) -> None:
        """Finds the colours of the classes that there are.

        Args:
            metadata: of the catalog, of all data sets.
            keys: of it, lists of names; colours stand at the key with "colors" in the place of "classes".
            given: whether the data sets' own colours are taken; where not, all are made, for eyes that lack the cones
                for red or those for green as well.
        """
        listed = list(metadata)
        self._colors: dict[str, Color] = {}
        self._distance = math.dist if given else _safe_distance
        for key in keys if given else ():
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
            distance = min((self._distance(color, taken) for taken in used), default=math.inf)
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


def _safe_distance(one: Color, other: Color) -> float:
    """In RGB, as it is seen by who sees the least of it; what remains to those who lack cones counts twice."""
    return min(math.dist(one, other), *(2 * math.dist(a, b) for a, b in zip(_seen(one), _seen(other), strict=True)))


@cache
def _seen(color: Color) -> tuple[tuple[float, ...], ...]:
    """A colour in sRGB [0, 255] as it is seen without the cones for red, and without those for green."""
    linear = [_linear(value / 255) for value in color]
    return tuple(
        tuple(255 * _encoded(sum(weight * value for weight, value in zip(row, linear, strict=True))) for row in matrix)
        for matrix in MISSING_CONES
    )


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _encoded(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _candidates(name: str) -> Iterator[Color]:
    """Bright colours whose hues are spread by the golden ratio, beginning with one that follows from the name."""
    start = zlib.crc32(name.encode()) % 4096
    for i in range(start, start + TRIES):
        r, g, b = colorsys.hsv_to_rgb(i * 0.618034 % 1.0, 0.85 - 0.35 * (i % 3 == 1), 1.0 - 0.4 * (i % 4 == 2))
        yield round(255 * r), round(255 * g), round(255 * b)
