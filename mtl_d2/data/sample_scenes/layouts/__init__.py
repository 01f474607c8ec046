"""The published layouts, one module each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mtl_d2.data.sample_scenes.layouts import bdd100k, cityscapes, coco, nyu
from mtl_d2.data.sample_scenes.scene import Scene


class Layout(NamedTuple):
    """How one data set stores its scenes.

    Attributes:
        folder: its folder under the root.
        write: (folder, split, index, number of the split's images, scene) to the scene's part of the index files.
        finish: (folder, split, parts in the order of the scenes) writes the split's index files.
    """

    folder: str
    write: Callable[[Path, str, int, int, Scene], Any]
    finish: Callable[[Path, str, list[Any]], None]


LAYOUTS = {
    "bdd100k": Layout("bdd100k", bdd100k.write, bdd100k.finish),
    "cityscapes": Layout("cityscapes", cityscapes.write, cityscapes.finish),
    "coco": Layout("coco", coco.write, coco.finish),
    "nyu": Layout("nyuv2", nyu.write, nyu.finish),
}
