"""PASCAL VOC 2007 and 2012 with SBD: boxes of 20 classes and 21 semantic classes, of one image where both know it.

Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015. Hariharan et al., "Semantic
Contours from Inverse Detectors", ICCV 2011 (SBD). The layout, below the root or below ``VOCdevkit/``::

    VOC2007/{JPEGImages,Annotations,ImageSets/Main}
    VOC2012/{JPEGImages,Annotations,SegmentationClass,ImageSets/{Main,Segmentation}}
    VOC2012/SegmentationClassAug/*.png with ImageSets/Segmentation/train_aug.txt, or SBD's own files in
    benchmark_RELEASE/dataset/ or sbd/: {cls/*.mat,train.txt,val.txt}

Images ``2007_NNNNNN`` of 2012 are those of 2007: they have one ``image_id``, and one record, here.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets import voc_files
from mtl_d2.data.datasets.voc_files import Photo
from mtl_d2.data.missing_labels import require_files
from mtl_d2.data.once import warn_once
from mtl_d2.data.pictures import TEST_IMAGES, TRAINED_ON

Records = list[dict[str, Any]]

IGNORE_LABEL = 255  # the border of objects, and what is no object of the 20 classes nor background
TRAINVAL = ((2007, "Main/trainval"), (2012, "Main/trainval"))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a data set is made of.

    Attributes:
        boxes: year and list of the images that are labelled for detection.
        maps: the list of those that are labelled for semantic segmentation; see ``voc_files.label_maps``.
        less_tests: whether the images of 2007's test set and of 2012's segmentation val are left out.
        as_published: whether it may be trained on though it has images of the test set.
    """

    boxes: Sequence[tuple[int, str]] = ()
    maps: str = ""
    less_tests: bool = False
    as_published: bool = False


DATA_SETS = {
    "voc_det_07_trainval": Parts(boxes=TRAINVAL[:1]),
    "voc_det_12_trainval": Parts(boxes=TRAINVAL[1:]),
    "voc_det_0712_trainval": Parts(boxes=TRAINVAL),
    "voc_det_07_test": Parts(boxes=((2007, "Main/test"),)),
    "voc_seg_12_train": Parts(maps="train"),
    "voc_seg_12_train_aug": Parts(maps="train_aug"),
    "voc_seg_12_val": Parts(maps="val"),
    "voc_det_seg_train": Parts(boxes=TRAINVAL, maps="train_aug", less_tests=True),
    "voc_det_seg_train_as_published": Parts(boxes=TRAINVAL, maps="train_aug", as_published=True),
    "voc_det_seg_12_val": Parts(boxes=((2012, "Segmentation/val"),), maps="val"),
}


def register(root: str) -> None:
    """Put ``DATA_SETS`` into detectron2's catalogs; they are read when they are asked for, and once.

    Args:
        root: the folder that holds ``VOC2007/`` and ``VOC2012/``, or ``VOCdevkit/``. Names registered before are
            registered anew.
    """
    palette = voc_files.colors(len(voc_files.STUFF_CLASSES))
    things = {"thing_classes": list(voc_files.THING_CLASSES), "thing_colors": palette[1:]}
    stuff = {
        "stuff_classes": list(voc_files.STUFF_CLASSES),
        "stuff_colors": palette,
        "ignore_label": IGNORE_LABEL,
    }
    for name, parts in DATA_SETS.items():
        register_anew(
            name,
            functools.cache(functools.partial(load, root, name)),
            **(things if parts.boxes else {}),
            **(stuff if parts.maps else {}),
            evaluator_type="voc" if parts.boxes else "sem_seg",
            **({TEST_IMAGES: TRAINED_ON} if parts.as_published else {}),
        )


def load(root: str, name: str) -> Records:
    """Records of a data set in the order of their ids, each labelled for what knows its image.

    Args:
        root: the folder that holds ``VOC2007/`` and ``VOC2012/``, or ``VOCdevkit/``.
        name: of ``DATA_SETS``.

    Returns:
        detectron2's dataset dicts, without a size where no XML file says it.

    Raises:
        DataError: a folder, list or labels are missing, or an XML file is not as published.
    """
    parts = DATA_SETS[name]
    photos = [photo for year, of in parts.boxes for photo in voc_files.listed(voc_files.year_folder(root, year), of)]
    boxed = {photo.image_id: photo for photo in reversed(photos)}  # of two years the first
    maps = voc_files.label_maps(root, parts.maps) if parts.maps else {}
    if parts.less_tests:
        left_out = _images_of_tests(root, boxed.keys() | maps.keys())
        _say(name, left_out)
        dropped = set().union(*left_out.values())
        boxed = {key: photo for key, photo in boxed.items() if key not in dropped}
        maps = {key: path for key, path in maps.items() if key not in dropped}
    require_files([photo.objects for photo in boxed.values()], "unpack VOC's archives of that year there")
    with ThreadPoolExecutor() as pool:  # most of the time goes to the disk
        objects = dict(zip(boxed, pool.map(voc_files.read_objects, [p.objects for p in boxed.values()]), strict=True))
    photos_of_maps = {key: Photo(voc_files.year_folder(root, 2012), key) for key in maps}
    return [
        {
            "file_name": str(photo.image),
            "image_id": image_id,
            **objects.get(image_id, {}),
            **({"sem_seg_file_name": maps[image_id]} if image_id in maps else {}),
        }
        for image_id, photo in sorted({**photos_of_maps, **boxed}.items())
    ]


def _images_of_tests(root: str, image_ids: Collection[str]) -> dict[str, set[str]]:
    """Those that a test set has, by its name: every image of 2007 is in its trainval or in its test set."""
    trainval = {photo.image_id for photo in voc_files.listed(voc_files.year_folder(root, 2007), "Main/trainval")}
    val = {photo.image_id for photo in voc_files.listed(voc_files.year_folder(root, 2012), "Segmentation/val")}
    return {
        "VOC2007's test set": {key for key in image_ids if key.startswith("2007_") and key not in trainval | val},
        "VOC2012's segmentation val": val & set(image_ids),
    }


def _say(name: str, left_out: Mapping[str, Collection[str]]) -> None:
    numbers = " and ".join(f"{len(ids)} images of {test}" for test, ids in left_out.items() if ids)
    if numbers:
        warn_once(logger, f"{name}: {numbers} are left out, so that it may be tested on either")
