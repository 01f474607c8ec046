"""Cityscapes as it is published: objects of 8 classes, 19 semantic classes and disparity, all of the same images.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016. The layout::

    cityscapes/leftImg8bit/{train,val}/CITY/*_leftImg8bit.png
    cityscapes/gtFine/{train,val}/CITY/*_gtFine_{instanceIds,labelIds}.png
    cityscapes/disparity/{train,val}/CITY/*_disparity.png             (may be absent)

Objects are read from ``instanceIds``, which is what Cityscapes evaluates on, where detectron2's own data sets
``cityscapes_fine_instance_seg_*`` read ``polygons.json``: an object that another one cuts in pieces stays one object,
and neither shapely nor cityscapesscripts is needed. Sizes are those of the files: copies at another size are read too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.bdd100k_classes import STUFF_CLASSES, STUFF_COLORS
from mtl_d2.data.errors import DataError
from mtl_d2.data.outlines import coco_polygons
from mtl_d2.data.roots import require_folder

SPLITS = ("train", "val")
NAMES = tuple(f"cityscapes_{split}" for split in SPLITS)
IGNORE_LABEL = 255
# The id of each of the 19 classes in the label files; the classes themselves are BDD100K's, which took them from here.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
# A pixel of ``instanceIds`` holds 1000 * label id + number of the object, or the label id where objects are not told
# apart, as in a crowd.
PER_LABEL = 1000
IMAGE, DISPARITY = "_leftImg8bit.png", "_disparity.png"
INSTANCE_IDS, SEMANTIC_IDS = "_gtFine_instanceIds.png", "_gtFine_labelIds.png"

_THING_OF_LABEL = {LABEL_IDS[STUFF_CLASSES.index(name)]: i for i, name in enumerate(THINGS)}


def semantic_table() -> bytes:
    """The class id of each label id, ``IGNORE_LABEL`` where it has none."""
    table = bytearray([IGNORE_LABEL]) * 256
    for train_id, label_id in enumerate(LABEL_IDS):
        table[label_id] = train_id
    return bytes(table)


def register(root: str) -> None:
    """Put ``cityscapes_{train,val}`` into detectron2's catalogs; they are read when they are asked for, and once.

    Args:
        root: the folder that holds ``cityscapes/``. Names registered before are registered anew.
    """
    for name, split in zip(NAMES, SPLITS, strict=True):
        register_anew(
            name,
            functools.cache(functools.partial(load, root, split)),
            thing_classes=list(THINGS),
            thing_colors=[list(STUFF_COLORS[thing]) for thing in THINGS],
            stuff_classes=list(STUFF_CLASSES),
            stuff_colors=[list(color) for color in STUFF_COLORS.values()],
            ignore_label=IGNORE_LABEL,
            gt_dir=str(Path(root, "cityscapes", "gtFine", split)),
            evaluator_type="cityscapes",
            semantic_convention="cityscapes",
            depth_encoding="cityscapes_disparity",
            depth_unit="pixels",
        )


def load(root: str, split: str, polygons: bool = True) -> list[dict[str, Any]]:
    """Records of all images of a split, labelled for detection, instance and semantic segmentation.

    Where there is a disparity they are labelled for depth too, in pixels.

    Args:
        root: the folder that holds ``cityscapes/``.
        split: ``train`` or ``val``.
        polygons: masks as polygons along the edges of the pixels; else as RLE.

    Returns:
        detectron2's dataset dicts in the order of their files.

    Raises:
        DataError: a folder or label file is missing, or a label file is none.
    """
    base = Path(root, "cityscapes")
    images = image_files(base / "leftImg8bit" / split)
    missing = [path for path in (_label(image, INSTANCE_IDS) for image in images) if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} files *{INSTANCE_IDS} of {base / 'gtFine' / split} are missing, the "
            f"first is {missing[0]}: unpack Cityscapes' gtFine_trainvaltest there"
        )
    with ThreadPoolExecutor() as pool:  # most of the time goes to libraries that let other threads run
        return list(pool.map(functools.partial(_record, polygons=polygons), images))


def _record(image: Path, polygons: bool) -> dict[str, Any]:
    path = _label(image, INSTANCE_IDS)
    ids = _read(path)
    disparity = Path(_label(image, DISPARITY, "disparity"))
    return {
        "file_name": str(image),
        "image_id": image.name,
        "height": ids.shape[0],
        "width": ids.shape[1],
        "annotations": list(objects(ids, polygons)),
        "sem_seg_file_name": str(_label(image, SEMANTIC_IDS)),
        "sem_seg_table": semantic_table(),
        **({"depth_file_name": str(disparity)} if disparity.is_file() else {}),
    }


def objects(ids: np.ndarray, polygons: bool) -> Iterator[dict[str, Any]]:
    """The annotations of an image; a region in which objects are not told apart is a crowd region.

    Args:
        ids: (H, W) as ``instanceIds`` holds them.
        polygons: masks as polygons; else as RLE.
    """
    from scipy import ndimage  # which most trainings do without

    found = np.flatnonzero(np.bincount(ids.reshape(-1)))
    wanted = [v for v in found.tolist() if _label_id(v) in _THING_OF_LABEL]
    numbers = np.zeros(int(found[-1]) + 1, np.int32)
    numbers[wanted] = range(1, len(wanted) + 1)
    for value, place in zip(wanted, ndimage.find_objects(numbers[ids]), strict=True):
        (y0, y1), (x0, x1) = ((s.start, s.stop) for s in place)
        yield {
            "bbox": [float(x0), float(y0), float(x1), float(y1)],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": _THING_OF_LABEL[_label_id(value)],
            "iscrowd": int(value < PER_LABEL),
            "segmentation": _outline(ids[place] == value, x0, y0) if polygons else _rle(ids == value),
        }


def _label_id(value: int) -> int:
    return value // PER_LABEL if value >= PER_LABEL else value


def _outline(mask: np.ndarray, x0: int, y0: int) -> list[list[float]]:
    corner = np.array([x0, y0])
    return [(np.reshape(p, (-1, 2)) + corner).reshape(-1).tolist() for p in coco_polygons(mask)]


def _rle(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _label(image: Path, ending: str, kind: str = "gtFine") -> Path:
    """The file beside ``leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`` that is called ``NAME`` + ending."""
    split, city = image.parts[-3:-1]
    return image.parents[3] / kind / split / city / (image.name.removesuffix(IMAGE) + ending)


def image_files(folder: Path) -> list[Path]:
    """Images of a split, in order.

    Raises:
        DataError: there are none.
    """
    require_folder(folder, "cityscapes/leftImg8bit and cityscapes/gtFine")
    images = sorted(path for path in folder.glob(f"*/*{IMAGE}") if not path.name.startswith("."))
    if not images:
        raise DataError(f"folder {folder} has no CITY/*{IMAGE}: unpack Cityscapes' leftImg8bit_trainvaltest there")
    return images


def _read(path: Path) -> np.ndarray:
    """An image of one channel of 8 or 16 bits."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        what = "no image" if stored is None else f"shape {stored.shape} of {stored.dtype}"
        raise DataError(f"{path}: expected one 16-bit channel, found {what}: fetch the file again")
    return stored
