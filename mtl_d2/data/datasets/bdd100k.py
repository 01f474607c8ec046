"""BDD100K as it is published: four kinds of labels on the 100k images, two on the 10k images.

Yu et al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning", CVPR 2020
(https://arxiv.org/abs/1805.04687). The layout::

    bdd100k/images/100k/{train,val}/*.jpg    labels/det_20/det_{train,val}.json
                                             labels/drivable/{masks,colormaps}/{train,val}/*.png
                                             labels/lane/{masks,colormaps}/{train,val}/*.png
    bdd100k/images/10k/{train,val}/*.jpg     labels/sem_seg/{masks,colormaps}/{train,val}/*.png
                                             labels/ins_seg/{rles/ins_seg_{train,val}.json,bitmasks/{train,val}/*.png}
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.datasets.bdd100k_classes import (
    INSTANCE_CLASSES,
    STUFF_CLASSES,
    STUFF_COLORS,
    THING_CLASSES,
    THING_COLORS,
)
from mtl_d2.data.datasets.bdd100k_files import (
    base_folder,
    image_record,
    in_both,
    label_files,
    labelled,
    map_folder,
    part_folder,
    read_frames,
    size_of_first,
)
from mtl_d2.data.datasets.bdd100k_instances import masks_of_bitmask, masks_of_frame
from mtl_d2.data.datasets.bdd100k_maps import PIXEL_TASKS, map_keys, map_metadata
from mtl_d2.data.datasets.bdd100k_objects import BOXES, MASKS, Tally, boxes

Records = list[dict[str, Any]]

SPLITS = ("train", "val")
IGNORE_LABEL = 255


def register(root: str) -> None:
    """Put BDD100K's data sets into detectron2's catalogs; nothing is read before it is asked for.

    ``bdd100k_LABELS_{train,val}``, where LABELS says which are read: ``det``, ``drivable``, ``lane``, all three as
    ``det_drivable_lane``, ``sem_seg``, ``ins_seg``.

    Args:
        root: the folder that holds ``bdd100k/``. Names registered before are registered anew.
    """
    stuff = {
        "stuff_classes": list(STUFF_CLASSES),
        "stuff_colors": [list(c) for c in STUFF_COLORS.values()],
        "ignore_label": IGNORE_LABEL,
        "evaluator_type": "sem_seg",
        "semantic_convention": "bdd100k",
    }
    things, maps = _things(THING_CLASSES), {kind: map_metadata(kind) for kind in PIXEL_TASKS}
    driving = {**things, **maps["drivable"], **maps["lane"], "evaluator_type": "bdd100k_driving"}
    for split in SPLITS:
        sources = label_files(root, split, "det_20")
        register_anew(f"bdd100k_det_{split}", partial(load_detection, root, split), **things, **sources)
        name, sources = f"bdd100k_sem_seg_{split}", label_files(root, split, "sem_seg")
        register_anew(name, partial(load_semantic, root, split, name), **stuff, **sources)
    for split in SPLITS:
        for kind, metadata in maps.items():
            pixels = {**metadata, "evaluator_type": "sem_seg"}
            name, sources = f"bdd100k_{kind}_{split}", label_files(root, split, kind)
            register_anew(name, partial(load_maps, root, split, kind, name), **pixels, **sources)
        name, sources = f"bdd100k_det_drivable_lane_{split}", label_files(root, split, "det_20", *PIXEL_TASKS)
        register_anew(name, partial(load_driving, root, split, name), **driving, **sources)
        name, things = f"bdd100k_ins_seg_{split}", {**_things(INSTANCE_CLASSES), **label_files(root, split, "ins_seg")}
        register_anew(name, functools.cache(partial(load_instances, root, split, name)), **things)


def load_detection(root: str, split: str) -> Records:
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
    base = base_folder(root)
    images = part_folder(base, "images", "100k", split)
    path = base / "labels" / "det_20" / f"det_{split}.json"
    frames = read_frames(path)
    size = size_of_first(images)
    tally = Tally(path, THING_CLASSES, BOXES)
    records = [{**image_record(images, f["name"], size), "annotations": list(boxes(f, tally))} for f in frames]
    tally.report()
    return records


def load_maps(root: str, split: str, kind: str, dataset: str = "") -> Records:
    """Records of the images under ``images/100k`` that have a map of one kind; see ``bdd100k_maps``.

    Of a lane mask four tasks can be read, of a colormap only two: it lacks style and direction.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.
        kind: ``drivable`` or ``lane``.
        dataset: its name in the catalog; with ``unpaired_files="refuse"`` in its metadata nothing is left out.

    Returns:
        detectron2's dataset dicts in the order of their names, with ``sem_seg_file_name/TASK`` of each task. Images
        without a map and maps without an image are said, once, and left out.

    Raises:
        DataError: a folder is missing, no image has a map, or the maps hold colours instead of values.
    """
    base = base_folder(root)
    images = part_folder(base, "images", "100k", split)
    maps = map_folder(base, kind, split)
    size = size_of_first(images)
    keys, tables = map_keys(kind, colormaps=maps.parent.name == "colormaps")
    return [
        {
            **image_record(images, f"{stem}.jpg", size),
            **dict.fromkeys(keys, os.path.join(maps, f"{stem}.png")),
            **tables,
        }
        for stem in labelled(images, maps, dataset)
    ]


def load_driving(root: str, split: str, dataset: str = "") -> Records:
    """Records of the images under ``images/100k`` with all of their labels: objects, drivable area, lanes.

    An image that only some of the three know is labelled for these.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.
        dataset: its name in the catalog; with ``unpaired_files="refuse"`` in its metadata nothing is left out.

    Returns:
        detectron2's dataset dicts: those of ``det_{split}.json`` in its order, then images with maps alone.

    Raises:
        DataError: as :func:`load_detection` and :func:`load_maps`.
    """
    records = load_detection(root, split)
    by_image = {record["image_id"]: record for record in records}
    for kind in PIXEL_TASKS:
        for record in load_maps(root, split, kind, dataset):
            image_id = record["image_id"]
            if image_id in by_image:
                by_image[image_id].update(record)
            else:
                by_image[image_id] = record
                records.append(record)
    return records


def load_semantic(root: str, split: str, dataset: str = "") -> Records:
    """Records of the images under ``images/10k`` that have a label, ``sem_seg_file_name``: a PNG of train ids.

    ``labels/sem_seg/masks`` is taken where it is there, else ``colormaps``, whose palette index is the train id.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.
        dataset: its name in the catalog; with ``unpaired_files="refuse"`` in its metadata nothing is left out.

    Returns:
        detectron2's dataset dicts in the order of their names; the size of all is read from the first image. Images
        without a label and labels without an image are said, once, and left out.

    Raises:
        DataError: a folder is missing, no image has a label, or the label images hold colours instead of ids.
    """
    base = base_folder(root)
    images = part_folder(base, "images", "10k", split)
    size = size_of_first(images)
    labels = map_folder(base, "sem_seg", split)
    return [
        {**image_record(images, f"{stem}.jpg", size), "sem_seg_file_name": os.path.join(labels, f"{stem}.png")}
        for stem in labelled(images, labels, dataset)
    ]


def load_instances(root: str, split: str, dataset: str = "") -> Records:
    """Records of the images under ``images/10k`` whose objects have masks, RLE, and the boxes around them.

    ``labels/ins_seg/rles/ins_seg_{split}.json`` is taken where it is there, as it is read in seconds, else
    ``labels/ins_seg/bitmasks``. What is marked as crowd or ignored is a crowd region. Images without masks and masks
    without an image are said, once, and left out.

    Args:
        root: the folder that holds ``bdd100k/``.
        split: ``train`` or ``val``.
        dataset: its name in the catalog; with ``unpaired_files="refuse"`` in its metadata nothing is left out.

    Returns:
        detectron2's dataset dicts; the size of all is read from the first image.

    Raises:
        DataError: a folder is missing, no image has a bitmask, a category is unknown, or a file is not as published.
    """
    base = base_folder(root)
    images = part_folder(base, "images", "10k", split)
    size = size_of_first(images)
    path = base / "labels" / "ins_seg" / "rles" / f"ins_seg_{split}.json"
    if not path.is_file():
        return _instances_of_bitmasks(images, part_folder(base, "labels", "ins_seg", "bitmasks", split), size, dataset)
    tally = Tally(path, INSTANCE_CLASSES, MASKS)
    frames = read_frames(path)
    paired = set(in_both(images, path, [os.path.splitext(f["name"])[0] for f in frames], dataset=dataset))
    records = [
        {**image_record(images, f["name"], size), "annotations": list(masks_of_frame(f, tally))}
        for f in frames
        if os.path.splitext(f["name"])[0] in paired
    ]
    tally.report()
    return records


def _instances_of_bitmasks(images: Path, bitmasks: Path, size: tuple[int, int], dataset: str) -> Records:
    stems = labelled(images, bitmasks, dataset)
    with ThreadPoolExecutor() as pool:  # most of the time goes to libraries that let other threads run
        objects = pool.map(masks_of_bitmask, [bitmasks / f"{stem}.png" for stem in stems])
        return [
            {**image_record(images, f"{stem}.jpg", size), "annotations": annotations}
            for stem, annotations in zip(stems, objects, strict=True)
        ]


def _things(names: tuple[str, ...]) -> dict[str, Any]:
    colors = [list(THING_COLORS[name]) for name in names]
    return {"thing_classes": list(names), "thing_colors": colors, "evaluator_type": "coco"}
