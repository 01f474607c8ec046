"""What is wrong with the data, all of it at once, before anything is built."""

from __future__ import annotations

import difflib
import logging
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from mtl_d2.data.annotations import clean_annotations
from mtl_d2.data.classification import wrong_classes
from mtl_d2.data.datasets.cityscapes import NAMES as CITYSCAPES
from mtl_d2.data.errors import DataError
from mtl_d2.data.holdout import divide
from mtl_d2.data.mapper import read_label_map
from mtl_d2.data.reading import read_records
from mtl_d2.data.roots import mend
from mtl_d2.tasks import LABELS

# Of each task with classes: where the metadata list them.
_CLASSES = {"detection": "thing_classes", "instance": "thing_classes", "semantic": "stuff_classes"}
# The config keys that count them. Detectors of detectron2's own have their heads' key.
_COUNTS = {"stuff_classes": "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "thing_classes": "MODEL.ROI_HEADS.NUM_CLASSES"}
_DETECTOR_COUNTS = {"MultiTaskFCOS": {"thing_classes": "MODEL.FCOS.NUM_CLASSES"}}
# Keys of a record that name a file.
_FILE_KEYS = ("file_name", "sem_seg_file_name")
ORIENTATION = 0x0112  # EXIF's tag; from 5 on width and height are exchanged
LOOKED_AT = 8  # images of a data set whose size is compared with what their record says

logger = logging.getLogger(__name__)
Records = list[dict[str, Any]]


def check_data(cfg: CfgNode) -> None:
    """Read the label files of all data sets of the config and say everything that keeps them from being trained on.

    Images are looked for, in one listing per folder; of a few of each data set the size is read.

    Args:
        cfg: ``DATASETS.TRAIN`` and ``DATASETS.TEST``, ``MTL.TASKS``, ``MTL.DATA``, ``SOLVER.IMS_PER_BATCH``, ``SEED``.

    Raises:
        DataError: one line per mistake.
    """
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    mistakes: dict[str, list[str]] = {}  # the line -> the data sets it concerns
    readable: set[str] = set()
    labelled: dict[str, set[str]] = {}
    objects: dict[str, int] = {}
    for name in names:
        records, lines = _read(name)
        if records is not None:
            readable.add(name)
            labelled[name] = {task for task in cfg.MTL.TASKS if _labels(records, task)}
            mask_format = cfg.INPUT.MASK_FORMAT if name in cfg.DATASETS.TRAIN else "bitmask"  # evaluation reads any
            cleaned = clean_annotations(records, "instance" in labelled[name], mask_format)
            objects[name] = cleaned.objects
            lines = [
                *_missing_files(records, cfg.MTL.TASKS),
                *_other_sizes(records),
                *cleaned.lines(cleaned.refused),
                *_uncuttable(cfg, name, records),
                *_wrong_numbers(cfg, name, labelled[name] & _CLASSES.keys()),
                *wrong_classes(cfg, name, records),
                *_wrong_ids(cfg, name, records),
                *_not_divisible(cfg, name, records),
            ]
        for line in lines:
            mistakes.setdefault(line, []).append(name)
    found = [f"{', '.join(of)}: {line}" for line, of in mistakes.items()]
    found += _wrong_shares(cfg)
    if readable.issuperset(cfg.DATASETS.TRAIN):
        found += _unlabelled(cfg, labelled)
        found += _without_objects(cfg, labelled, objects)
        found += _different_classes(cfg, labelled)
    if found:
        raise DataError("\n".join(found))


def _read(name: str) -> tuple[Records | None, list[str]]:
    """The records of a data set, or None and why not."""
    if name not in DatasetCatalog:
        close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
        own = [n for n in DatasetCatalog.list() if n.startswith(("bdd100k_", "multi_")) or n in CITYSCAPES]
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        return None, [
            f"no data set of this name is registered: {meant}There are {', '.join(own)}, detectron2's own, and "
            "what the files in MTL.DATA.MODULES register"
        ]
    try:
        records = read_records(name)
    except DataError as e:
        return None, str(e).splitlines()
    except FileNotFoundError as e:
        return None, [f"{e.filename} not found {mend('its files, or correct its reader')}"]
    except Exception as e:  # a reader that is not ours may raise anything
        logger.debug("reading %s failed", name, exc_info=True)
        return None, [f"cannot be read ({type(e).__name__}: {e}): correct its files or its reader"]
    if not records:
        return None, ["has no images: correct its folder or its reader"]
    return list(records), []


def _labels(records: Records, task: str) -> bool:
    """Whether a data set labels a task; images that show nothing do not say whether others have masks."""
    label = LABELS[task]
    if label.annotation_key:
        return any(label.annotation_key in a for r in records for a in r.get(label.record_key, ()))
    return any(label.record_key in r for r in records)


def _missing_files(records: Records, tasks: Sequence[str]) -> Iterator[str]:
    wanted = {LABELS[task].record_key for task in tasks} | {"file_name"}
    for key in (k for k in _FILE_KEYS if k in wanted):
        paths = [r[key] for r in records if key in r and "image" not in r]  # an image in memory has a name alone
        missing = _absent(paths)
        if missing:
            what = "image" if key == "file_name" else "label"
            yield (
                f"{len(missing)} of {len(paths)} {what} files are missing, the first is {missing[0]}: "
                "add them, or take their records out"
            )


def _other_sizes(records: Records) -> Iterator[str]:
    """An annotation file that is of other images, or of the same ones at another size."""
    sized = [r for r in records if "width" in r]
    sample = [r for r in sized[:: max(1, len(sized) // LOOKED_AT)] if os.path.isfile(r["file_name"])]
    other = [r["file_name"] for r in sample if _size(r["file_name"]) not in (None, (r["width"], r["height"]))]
    if other:
        yield (
            f"{len(other)} of {len(sample)} images looked at have another size than their record says, the first is "
            f"{other[0]}: take the annotation file that is of these images"
        )


def _uncuttable(cfg: CfgNode, name: str, records: Records) -> Iterator[str]:
    """Polygons that a random crop would cut, which detectron2 leaves to a package that it does not require."""
    if not cfg.INPUT.CROP.ENABLED or "instance" not in cfg.MTL.TASKS or name not in cfg.DATASETS.TRAIN:
        return
    masks = (a.get("segmentation") for r in records for a in r.get("annotations", ()))
    if find_spec("shapely") is None and any(isinstance(mask, list) for mask in masks):
        yield "INPUT.CROP.ENABLED cuts its polygons, which takes shapely: `pip install shapely`, or set it to False"


def _size(path: str) -> tuple[int, int] | None:
    """Width and height of an image as it is to be seen; None where it cannot be opened, which training will say."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            return image.size[::-1] if turned else image.size
    except (OSError, SyntaxError, ValueError):
        return None


def _absent(paths: Iterable[str]) -> list[str]:
    """The paths that are no files, in their order. Lists each folder once instead of asking for each file."""
    listed: dict[str, set[str]] = {}
    absent = []
    for path in paths:
        folder, file = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if file not in listed[folder]:
            absent.append(path)
    return absent


def _wrong_numbers(cfg: CfgNode, name: str, tasks: Iterable[str]) -> Iterator[str]:
    """Tasks whose number of classes in the config is not the data set's."""
    for task in sorted(tasks):
        listed = _CLASSES[task]
        key = _DETECTOR_COUNTS.get(cfg.MODEL.META_ARCHITECTURE, {}).get(listed, _COUNTS[listed])
        classes = getattr(MetadataCatalog.get(name), listed, None)
        number = operator.attrgetter(key)(cfg)
        if classes is None:
            yield f"its metadata have no `{listed}`: register them, detectron2's evaluators need them too"
        elif len(classes) != number:
            yield f"it has {len(classes)} `{listed}`, but {key} is {number}: set it to {len(classes)}"


def _wrong_ids(cfg: CfgNode, name: str, records: Records) -> Iterator[str]:
    """Ids beyond the classes that the metadata names: of all boxes, and of the first label map there is."""
    metadata = MetadataCatalog.get(name)
    keys = {LABELS[task].record_key for task in cfg.MTL.TASKS}
    if "annotations" in keys and hasattr(metadata, "thing_classes"):
        ids = {a["category_id"] for r in records for a in r.get("annotations", ()) if "category_id" in a}
        wrong = sorted(ids - set(range(len(metadata.thing_classes))))
        if wrong:
            yield f"`category_id` must be in 0..{len(metadata.thing_classes) - 1}, found {wrong}: correct its reader"
    maps = (r for r in records if os.path.isfile(r.get("sem_seg_file_name", "")))
    first = next(maps, None) if "sem_seg_file_name" in keys else None
    if first is None:
        return
    ignored = getattr(metadata, "ignore_label", cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
    try:
        table = first.get("sem_seg_table")
        read_label_map(first["sem_seg_file_name"], cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, ignored, table)
    except DataError as e:
        yield str(e)


def _not_divisible(cfg: CfgNode, name: str, records: Records) -> Iterator[str]:
    """What keeps a part of a training set from being held out and evaluated."""
    share = cfg.MTL.DATA.VALIDATION_SHARE
    if share <= 0 or name not in cfg.DATASETS.TRAIN:
        return
    try:
        divide(records, share, cfg.SEED, name)
    except DataError as e:
        yield str(e)
    if MetadataCatalog.get(name).get("evaluator_type") is None:
        yield "its metadata have no `evaluator_type`, but MTL.DATA.VALIDATION_SHARE of it is evaluated: register it"


def _wrong_shares(cfg: CfgNode) -> Iterator[str]:
    shares, names = cfg.MTL.DATA.PER_TASK, cfg.DATASETS.TRAIN
    if not shares:
        return
    if len(shares) != len(names):
        yield (
            f"MTL.DATA.PER_TASK must have one number per data set of DATASETS.TRAIN, {len(names)}; "
            f"found {len(shares)}: {tuple(shares)} for {tuple(names)}"
        )
    if sum(shares) != cfg.SOLVER.IMS_PER_BATCH or min(shares) < 1:
        yield (
            "MTL.DATA.PER_TASK must be numbers >= 1 whose sum is SOLVER.IMS_PER_BATCH, "
            f"{cfg.SOLVER.IMS_PER_BATCH}; found {tuple(shares)} with sum {sum(shares)}: change one of the two"
        )


def _unlabelled(cfg: CfgNode, labelled: dict[str, set[str]]) -> Iterator[str]:
    train = list(cfg.DATASETS.TRAIN)
    for task in cfg.MTL.TASKS:
        if not any(task in labelled[name] for name in train):
            label = LABELS[task]
            key = f"`{label.record_key}`" + (f" with `{label.annotation_key}`" if label.annotation_key else "")
            yield (
                f"MTL.TASKS has {task!r}, but no data set of DATASETS.TRAIN ({', '.join(train)}) labels it: none of "
                f"their records has {key}: add one that has, or take {task!r} out of MTL.TASKS"
            )
    for name in train:
        if not labelled[name]:
            yield (
                f"{name} has no label for any of MTL.TASKS {tuple(cfg.MTL.TASKS)}: take it out of DATASETS.TRAIN, "
                "or add its task"
            )


def _without_objects(cfg: CfgNode, labelled: dict[str, set[str]], objects: dict[str, int]) -> Iterator[str]:
    """One data set may be all background, but not all of them together."""
    names = [name for name in cfg.DATASETS.TRAIN if "detection" in labelled[name]]
    if names and not sum(objects[name] for name in names):
        yield (
            f"{', '.join(names)}: no image shows an object to detect: the annotation file may be of other images, or "
            "all its boxes were dropped; correct it"
        )


def _different_classes(cfg: CfgNode, labelled: dict[str, set[str]]) -> Iterator[str]:
    """One head has one list of classes: the data sets that train it must agree on it."""
    for listed in dict.fromkeys(_CLASSES.values()):
        tasks = [task for task in cfg.MTL.TASKS if _CLASSES.get(task) == listed]
        names = [n for n in cfg.DATASETS.TRAIN if labelled[n].intersection(tasks)]
        lists = [list(getattr(MetadataCatalog.get(n), listed, ())) for n in names]
        if any(classes != lists[0] for classes in lists):
            what = " and ".join(map(repr, tasks))
            yield f"{', '.join(names)} label {what} with different `{listed}`: map them to one list in their readers"
