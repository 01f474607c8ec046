"""BDD100K's maps of drivable areas and lane markings, as named semantic tasks.

A drivable map holds class ids: 0 = direct (the vehicle's own lane), 1 = alternative, 2 = background.

A lane mask is bit-coded, as the toolkit's ``bdd100k/eval/lane.py`` has it (https://github.com/bdd100k/bdd100k)::

    bit   7  6  5          4      3           2  1  0
          -  -  direction  style  background  category

so that four tasks can be read of it, each through a table of its own. 255 is background.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_d2.data.datasets import bdd100k_classes as classes

Colors = Mapping[str, tuple[int, int, int]]

IS_BACKGROUND = 1 << 3
IS_UNUSED = 3 << 6  # the bits that are 1 in background's 255 and nowhere else
MOSTLY = 0.9  # share of background that lane masks have at least, as lines are few pixels wide
IGNORED = 255


@dataclass(frozen=True)
class PixelTask:
    """A named semantic task that one of BDD100K's maps labels.

    Attributes:
        colors: RGB by class, in the order of the ids.
        bits: (first, number) of those that hold the class in a lane mask; None = the map holds class ids.
        in_colormaps: whether the toolkit's colormaps, which keep bits 0 to 3, hold it too.
    """

    colors: Colors
    bits: tuple[int, int] | None = None
    in_colormaps: bool = True

    def table(self) -> bytes | None:
        """The class id of each of the 256 values that a map may hold; None = the value is the id."""
        if self.bits is None:
            return None
        first, number = self.bits
        values = np.arange(256)
        ids = values >> first & (1 << number) - 1
        return np.where(values & IS_BACKGROUND, len(self.colors) - 1, ids).astype(np.uint8).tobytes()


# By the folder below ``labels`` and the task's name.
PIXEL_TASKS: dict[str, dict[str, PixelTask]] = {
    "drivable": {"drivable": PixelTask(classes.DRIVABLE_COLORS)},
    "lane": {
        "lane": PixelTask(classes.LANE_COLORS, (0, 0)),
        "lane_category": PixelTask(classes.LANE_CATEGORY_COLORS, (0, 3)),
        "lane_direction": PixelTask(classes.LANE_DIRECTION_COLORS, (5, 1), in_colormaps=False),
        "lane_style": PixelTask(classes.LANE_STYLE_COLORS, (4, 1), in_colormaps=False),
    },
}


class NamedTable(bytes):
    """The table of a task, pickled as its name: detectron2 keeps every record pickled, and there are 70,000."""

    kind: str
    task: str

    def __new__(cls, kind: str, task: str) -> NamedTable:
        """Args: the keys of ``PIXEL_TASKS``."""
        table = super().__new__(cls, PIXEL_TASKS[kind][task].table() or b"")
        table.kind, table.task = kind, task
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        """Of pickle."""
        return _named_table, (self.kind, self.task)


@functools.cache
def _named_table(kind: str, task: str) -> NamedTable:
    return NamedTable(kind, task)


def map_keys(kind: str, colormaps: bool) -> tuple[list[str], dict[str, NamedTable]]:
    """What records say of the tasks that maps of one kind label.

    Args:
        kind: a key of ``PIXEL_TASKS``.
        colormaps: whether the maps are the toolkit's colormaps.

    Returns:
        the keys under which a record has the file of its map; and tables by their keys, the same in every record.
    """
    tasks = {name: task for name, task in PIXEL_TASKS[kind].items() if task.in_colormaps or not colormaps}
    tables = {f"sem_seg_table/{name}": NamedTable(kind, name) for name, task in tasks.items() if task.bits is not None}
    return [f"sem_seg_file_name/{name}" for name in tasks], tables


def map_metadata(kind: str) -> dict[str, Any]:
    """Classes and colours of the tasks that a map labels, by the names that a data set's metadata have."""
    metadata: dict[str, Any] = {}
    for name, task in PIXEL_TASKS[kind].items():
        metadata |= {
            f"stuff_classes/{name}": list(task.colors),
            f"stuff_colors/{name}": [list(color) for color in task.colors.values()],
            f"ignore_label/{name}": IGNORED,
        }
    return metadata


def lane_mask_mistake(pixels: np.ndarray) -> str | None:
    """What may be wrong with maps read as class ids, if they look like BDD100K's bit-coded lane masks.

    Their background, 255, would count as unlabelled: a network would learn that everything is a lane. Maps of few
    classes in which hardly any pixel is labelled look the same.

    Args:
        pixels: (256,) how many have each value, of one map or of several.

    Returns:
        The end of a line that begins with the maps; None where something speaks against lane masks.
    """
    values = np.flatnonzero(pixels)
    marked = values[values != IGNORED]
    if not len(marked) or pixels[IGNORED] < MOSTLY * pixels.sum() or (marked & (IS_BACKGROUND | IS_UNUSED)).any():
        return None
    return (
        f"hold the values {values.tolist()}, as BDD100K's lane masks do, whose bits are category, background, style "
        "and direction: if they are lane masks, read them through a `sem_seg_table`, as the data sets bdd100k_lane_* do"
    )
