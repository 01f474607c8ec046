"""SUN RGB-D's classes: 37 of pixels, and the 13 that they are gathered in.

Names are those of SUNRGBDtoolbox's ``seg37list.mat``; they are the first 37 of NYU's 40, and gathered as these are.
"""

from __future__ import annotations

from typing import Any

from mtl_d2.data.datasets.nyu_classes import CLASSES_13, IGNORED, OF_13
from mtl_d2.data.label_map import LabelMapKeys

CLASSES_37 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter"),
    *("blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling"),
    *("books", "fridge", "tv", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand"),
    *("toilet", "sink", "lamp", "bathtub", "bag"),
)
# Tasks by the names of their classes: ``semantic`` and ``semantic/classes_37``.
TASKS = {"": CLASSES_13, "classes_37": CLASSES_37}
# The class of each stored value; 0 = no label.
TABLES = {
    "": bytes([IGNORED, *(number - 1 for number in OF_13[: len(CLASSES_37)])]),
    "classes_37": bytes([IGNORED, *range(len(CLASSES_37))]),
}


def metadata() -> dict[str, Any]:
    """Classes of both tasks, as a data set's metadata have them."""
    said: dict[str, Any] = {}
    for name, classes in TASKS.items():
        keys = LabelMapKeys().named(name)
        said |= {keys.classes: list(classes), keys.ignored: IGNORED}
    return said


def label_keys(file: str, length: int) -> dict[str, Any]:
    """What a record says of a map of 37 classes, as the label of both tasks.

    Args:
        file: of the map: a path or an address.
        length: of the tables: 256 for an image, one more than the classes for an array, of which others are told.
    """
    said: dict[str, Any] = {}
    for name, table in TABLES.items():
        keys = LabelMapKeys().named(name)
        said |= {keys.file: file, keys.table: table.ljust(length, bytes([IGNORED]))}
    return said
