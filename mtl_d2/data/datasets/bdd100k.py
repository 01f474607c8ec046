"""BDD100K as it is published: 10 detection classes on the 100k images, 19 semantic classes on the 10k images.

Yu et al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning", CVPR 2020. The layout::

    bdd100k/images/100k/{train,val}/*.jpg    labels/det_20/det_{train,val}.json
    bdd100k/images/10k/{train,val}/*.jpg     labels/sem_seg/{masks,colormaps}/{train,val}/*.png
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from mtl_d2.data.datasets.bdd100k_classes import (
    CATEGORY_ID,
    CROWD_NAMES,
    OTHER_NAMES,
    STUFF_CLASSES,
    STUFF_COLORS,
    THING_CLASSES,
    THING_COLORS,
)
from mtl_d2.data.errors import DataError
from mtl_d2.data.once import warn_once
from mtl_d2.data.roots import require_folder

SPLITS = ("train", "val")
IGNORE_LABEL = 255

logger = logging.getLogger(__name__)


def register(root: str) -> None:
    """Put ``bdd100k_{det,sem_seg}_{train,val}`` into detectron2's catalogs; nothing is read before it is asked for.

    Args:
        root: the folder that holds ``bdd100k/``. Names registered before are registered anew.
    """
    things = {
        "thing_classes": list(THING_CLASSES),
        "thing_colors": [list(c) for c in THING_COLORS.values()],
        "evaluator_type": "coco",
    }
    stuff = {
        "stuff_classes": list(STUFF_CLASSES),
        "stuff_colors": [list(c) for c in STUFF_COLORS.values()],
        "ignore_label": IGNORE_LABEL,
        "evaluator_type": "sem_seg",
        "semantic_convention": "bdd100k",
    }
    for split in SPLITS:
        _register_one(f"bdd100k_det_{split}", partial(load_detection, root, split), things)
        _register_one(f"bdd100k_sem_seg_{split}", partial(load_semantic, root, split), stuff)


def load_detection(root: str, split: str) -> list[dict[str, Any]]:
    """Records of the images that ``det_{split}.json`` lists, each with ``annotations``.

    The corners of ``box2d`` are pixels that belong to the box, as the toolkit's conversion to COCO and its evaluation
    take them: the box of x1 = 2, x2 = 4 is 3 pixels wide. An image without ``labels``, or with null, has no objects.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.

    Returns:
        detectron2's dataset dicts; the size of all is read from the first image there is.

    Raises:
        DataError: the folder or file is missing, not the expected JSON, or has an unknown category.
    """
    base = _base(root)
    images = _folder(base / "images" / "100k" / split)
    path = base / "labels" / "det_20" / f"det_{split}.json"
    frames = read_frames(path)
    height, width = _size_of_first(images)
    tally = _Tally(path)
    records = [
        {
            "file_name": os.path.join(images, frame["name"]),
            "height": height,
            "width": width,
            "image_id": os.path.splitext(frame["name"])[0],
            "annotations": _boxes(frame, tally),
        }
        for frame in frames
    ]
    tally.report()
    return records


def load_semantic(root: str, split: str) -> list[dict[str, Any]]:
    """Records of the images under ``images/10k`` that have a label, ``sem_seg_file_name``: a PNG of train ids.

    ``labels/sem_seg/masks`` is taken where it is there, else ``colormaps``, whose palette index is the train id.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.

    Returns:
        detectron2's dataset dicts in the order of their names; the size of all is read from the first image. Images
        without a label and labels without an image are said, once, and left out.

    Raises:
        DataError: a folder is missing, no image has a label, or the label images hold colours instead of ids.
    """
    base = _base(root)
    images = _folder(base / "images" / "10k" / split)
    height, width = _size_of_first(images)
    labels = base / "labels" / "sem_seg" / "masks" / split
    colormaps = base / "labels" / "sem_seg" / "colormaps" / split
    if not labels.is_dir() and colormaps.is_dir():
        labels = colormaps
    _refuse_colours(_folder(labels))
    return [
        {
            "file_name": os.path.join(images, stem + ".jpg"),
            "height": height,
            "width": width,
            "image_id": stem,
            "sem_seg_file_name": os.path.join(labels, stem + ".png"),
        }
        for stem in _labelled(images, labels)
    ]


def read_frames(path: Path) -> list[dict[str, Any]]:
    """The frames of a label file in the Scalabel format: a list, or a dict with the list under ``frames``.

    Raises:
        DataError: no such file, not valid JSON, or another structure.
    """
    try:
        with open(path, encoding="utf-8") as f:
            content = json.load(f)
    except FileNotFoundError as e:
        raise DataError(f"label file {path} not found: unpack the labels of BDD100K's det_20 there") from e
    except json.JSONDecodeError as e:
        raise DataError(
            f"{path}, line {e.lineno}, column {e.colno}: not valid JSON ({e.msg}): "
            "the file is damaged or cut off, fetch it again"
        ) from e
    frames = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(frames, list) or not frames:
        raise DataError(
            f"{path}: expected a non-empty list of frames, found {type(content).__name__}: see docs/datasets.md"
        )
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("name"), str):
            raise DataError(f"{path}: frame {i} has no `name`: every frame names its image file, see docs/datasets.md")
    return frames


@dataclass
class _Tally:
    """Counts what is odd in one label file, so that each oddity is said once, with its number.

    Attributes:
        unknown: boxes per category that is not BDD100K's.
        first: the first frame of each such category.
        broken: frames that have a label without a category or a box without four corners.
        crowd: boxes that became crowd regions.
        empty: boxes whose second corner lies before the first; they are dropped.
    """

    path: Path
    unknown: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    crowd: int = 0
    empty: int = 0

    def report(self) -> None:
        """Raise on what cannot be mended here, log the rest."""
        lines = [
            f"{self.path}: {n} boxes of unknown category {name!r}, first in {self.first[name]!r}: correct it to one of "
            f"{', '.join((*THING_CLASSES, *OTHER_NAMES, *CROWD_NAMES))}"
            for name, n in self.unknown.items()
        ]
        if self.broken:
            lines.append(
                f"{self.path}: {len(self.broken)} labels lack `category` or one of box2d's numbers x1, y1, x2, y2, "
                f"first in {self.broken[0]!r}: correct or remove them"
            )
        if lines:
            raise DataError("\n".join(lines))
        if self.crowd:
            logger.info("%s: %d boxes are crowd regions, neither trained on nor counted", self.path, self.crowd)
        if self.empty:
            warn_once(logger, f"{self.path}: dropped {self.empty} boxes with x2 < x1 or y2 < y1")


def _boxes(frame: dict[str, Any], tally: _Tally) -> list[dict[str, Any]]:
    """Annotations of one frame; labels without a box (lanes, drivable areas) are none of detection's."""
    annotations = []
    for label in frame.get("labels") or ():
        box = label.get("box2d")
        if box is None:
            continue
        try:
            x1, y1, x2, y2 = (float(box[k]) for k in ("x1", "y1", "x2", "y2"))
            name = label["category"]
        except (KeyError, TypeError, ValueError):
            tally.broken.append(frame["name"])
            continue
        category_id, crowd = _category(name)
        if category_id is None:
            tally.unknown[str(name)] += 1
            tally.first.setdefault(str(name), frame["name"])
        elif x2 < x1 or y2 < y1:
            tally.empty += 1
        else:
            crowd = crowd or bool((label.get("attributes") or {}).get("crowd", False))
            tally.crowd += crowd
            box = {"bbox": [x1, y1, x2 + 1, y2 + 1], "bbox_mode": BoxMode.XYXY_ABS}
            annotations.append({**box, "category_id": category_id, "iscrowd": int(crowd)})
    return annotations


def _category(name: str) -> tuple[int | None, bool]:
    """Index of the class that a box of this name belongs to (None = unknown), and whether it is a crowd region."""
    name = OTHER_NAMES.get(name, name)
    return CATEGORY_ID.get(CROWD_NAMES.get(name, name)), name in CROWD_NAMES


def _register_one(name: str, load: Callable[[], list[dict[str, Any]]], metadata: dict[str, Any]) -> None:
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:  # it may hold the json_file that a COCOEvaluator made of the former root
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def _base(root: str) -> Path:
    return require_folder(Path(root) / "bdd100k", "bdd100k/images and bdd100k/labels")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"folder {path} not found: unpack this part of BDD100K there, see docs/datasets.md")
    return path


def _files(folder: Path, suffix: str) -> list[str]:
    """Names in a folder, sorted, less hidden ones. One listing: the folders of BDD100K hold up to 70 000 files."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name.endswith(suffix) and not e.name.startswith("."))
    if not names:
        raise DataError(f"folder {folder} has no *{suffix} files: unpack this part of BDD100K there")
    return names


def _labelled(images: Path, labels: Path) -> list[str]:
    """Names, less their endings, of the images that have a label; says which have none, and the reverse."""
    pictures, maps = ([os.path.splitext(n)[0] for n in _files(*of)] for of in ((images, ".jpg"), (labels, ".png")))
    both = sorted(set(pictures).intersection(maps))
    if not both:
        raise DataError(
            f"none of the {len(pictures)} images in {images} has its label in {labels}, which holds {len(maps)}, "
            f"{maps[0]}.png first: unpack the labels of these images"
        )
    for what, of, others in (
        ("images have no label", pictures, f"in {labels}"),
        ("labels have no image", maps, f"in {images}"),
    ):
        alone = sorted(set(of).difference(both))
        if alone:
            warn_once(logger, f"{len(alone)} of {len(of)} {what} {others} and are left out, the first is {alone[0]}")
    return both


def _size_of_first(images: Path) -> tuple[int, int]:
    """Height and width of the first image. The mapper checks every image against it when it is read."""
    with Image.open(images / _files(images, ".jpg")[0]) as image:
        return image.height, image.width


def _refuse_colours(labels: Path) -> None:
    first = labels / _files(labels, ".png")[0]
    with Image.open(first) as image:
        if image.mode not in ("L", "P"):
            raise DataError(
                f"{first} holds colours (mode {image.mode}), not train ids: unpack BDD100K's labels/sem_seg/masks, "
                "whose PNGs have one channel, beside it"
            )
