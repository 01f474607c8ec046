"""What is wrong with the data, all of it at once, before anything is built."""

from __future__ import annotations

import difflib
import logging
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data.classification import wrong_classes
from mtl_d2.data.errors import DataError
from mtl_d2.data.holdout import divide
from mtl_d2.data.mapper import read_label_map
from mtl_d2.tasks import LABELS

# Of each task with classes: where the metadata list them, and the config key that counts them.
_CLASSES = {
    "detection": ("thing_classes", "MODEL.FCOS.NUM_CLASSES"),
    "semantic": ("stuff_classes", "MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
}
# Keys of a record that name a file.
_FILE_KEYS = ("file_name", "sem_seg_file_name")

logger = logging.getLogger(__name__)
Records = list[dict[str, Any]]


def check_data(cfg: CfgNode) -> None:
    """Read the label files of all data sets of the config and say everything that keeps them from being trained on.

    Images are looked for, in one listing per folder, but not opened.

    Args:
        cfg: ``DATASETS.TRAIN`` and ``DATASETS.TEST``, ``MTL.TASKS``, ``MTL.DATA``, ``SOLVER.IMS_PER_BATCH``, ``SEED``.

    Raises:
        DataError: one line per mistake.
    """
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    mistakes: dict[str, list[str]] = {}  # the line -> the data sets it concerns
    readable: set[str] = set()
    labelled: dict[str, set[str]] = {}
    for name in names:
        records, lines = _read(name)
        if records is not None:
            readable.add(name)
            labelled[name] = {task for task in cfg.MTL.TASKS if any(LABELS[task].record_key in r for r in records)}
            lines = [
                *_missing_files(records, cfg.MTL.TASKS),
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
        found += _different_classes(cfg, labelled)
    if found:
        raise DataError("\n".join(found))


def _read(name: str) -> tuple[Records | None, list[str]]:
    """The records of a data set, or None and why not."""
    if name not in DatasetCatalog:
        close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
        own = [n for n in DatasetCatalog.list() if n.startswith(("bdd100k_", "multi_"))]
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        return None, [
            f"no data set of this name is registered: {meant}There are {', '.join(own)}, detectron2's own, and "
            "what the files in MTL.DATA.MODULES register"
        ]
    try:
        records = DatasetCatalog.get(name)
    except DataError as e:
        return None, str(e).splitlines()
    except Exception as e:  # a reader that is not ours may raise anything
        logger.debug("reading %s failed", name, exc_info=True)
        return None, [f"cannot be read ({type(e).__name__}: {e}): correct its files or its reader"]
    if not records:
        return None, ["has no images: correct its folder or its reader"]
    return list(records), []


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
        listed, key = _CLASSES[task]
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
        ids = {a["category_id"] for r in records for a in r.get("annotations", ())}
        wrong = sorted(ids - set(range(len(metadata.thing_classes))))
        if wrong:
            yield f"`category_id` must be in 0..{len(metadata.thing_classes) - 1}, found {wrong}: correct its reader"
    maps = (r["sem_seg_file_name"] for r in records if os.path.isfile(r.get("sem_seg_file_name", "")))
    first = next(maps, None) if "sem_seg_file_name" in keys else None
    if first is None:
        return
    ignored = getattr(metadata, "ignore_label", cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
    try:
        read_label_map(first, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, ignored)
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
            yield (
                f"MTL.TASKS has {task!r}, but no data set of DATASETS.TRAIN ({', '.join(train)}) labels it: none of "
                f"their records has `{LABELS[task].record_key}`: add one that has, or take {task!r} out of MTL.TASKS"
            )
    for name in train:
        if not labelled[name]:
            yield (
                f"{name} has no label for any of MTL.TASKS {tuple(cfg.MTL.TASKS)}: take it out of DATASETS.TRAIN, "
                "or add its task"
            )


def _different_classes(cfg: CfgNode, labelled: dict[str, set[str]]) -> Iterator[str]:
    """One head has one list of classes: the data sets that train it must agree on it."""
    for task, (listed, _) in _CLASSES.items():
        names = [n for n in cfg.DATASETS.TRAIN if task in labelled[n]]
        lists = [list(getattr(MetadataCatalog.get(n), listed, ())) for n in names]
        if any(classes != lists[0] for classes in lists):
            yield f"{', '.join(names)} label {task!r} with different `{listed}`: map them to one list in their readers"
