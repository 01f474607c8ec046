"""What is wrong with the data, all of it at once, before anything is built."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mtl_d2.data.annotations import clean_annotations
from mtl_d2.data.checks import classes, coco_file, files, label_maps, pixels, records
from mtl_d2.data.checks.findings import Findings
from mtl_d2.data.checks.labels import unlabelled, without_objects
from mtl_d2.data.classification import wrong_classes
from mtl_d2.data.errors import DataError
from mtl_d2.data.listing import Listing, Places, image_paths
from mtl_d2.data.once import speaks
from mtl_d2.tasks import LABELS

logger = logging.getLogger(__name__)
Records = list[dict[str, Any]]


@dataclass
class _Known:
    """What is kept of a data set after it was looked at.

    Attributes:
        labelled: the tasks of the config that it labels.
        objects: how many it has that are no crowd regions.
        shown: the class ids of its annotations.
        places: where its images are.
    """

    labelled: set[str]
    objects: int
    shown: set[Any]
    places: Places


def check_data(cfg: CfgNode) -> None:
    """Read the label files of all data sets of the config and say everything that keeps them from being trained on.

    Files are looked for, in one listing per folder. The headers of all label maps and of their images are read, as far
    as half a minute for each data set reaches, and of a few images where there are no maps; the pixels of some maps.
    What may be meant so is warned of, by the first of several processes.

    Args:
        cfg: ``DATASETS.TRAIN`` and ``DATASETS.TEST``, ``MTL.TASKS``, ``MTL.DATA``, ``SOLVER.IMS_PER_BATCH``, ``SEED``.

    Raises:
        DataError: one line per mistake.
    """
    findings, listing, known = Findings(), Listing(), dict[str, _Known]()
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        read, lines = records.read(name)
        findings.refuse(lines, name)
        if read is not None:
            known[name] = _look_at(cfg, name, read, listing, findings)
    findings.refuse(records.wrong_shares(cfg))
    findings.refuse(records.named_twice(cfg))
    labelled = {name: one.labelled for name, one in known.items()}
    if known.keys() >= set(cfg.DATASETS.TRAIN):
        findings.refuse(unlabelled(cfg, labelled))
        findings.refuse(without_objects(cfg, labelled, {name: one.objects for name, one in known.items()}))
        findings.refuse(classes.different_classes(cfg, labelled))
        trained = {name: known[name].shown for name in cfg.DATASETS.TRAIN if "detection" in labelled[name]}
        for name, line in classes.background_classes(trained) if not findings.refused else ():
            findings.warn([line], name)
    _compare_images(cfg, known, findings)
    for line in findings.warned if speaks() else ():
        logger.warning("%s", line)
    if findings.refused:
        raise DataError("\n".join(findings.refused))


def _look_at(cfg: CfgNode, name: str, read: Records, listing: Listing, findings: Findings) -> _Known:
    labelled = {task for task in cfg.MTL.TASKS if LABELS[task].is_in_some(read)}
    mask_format = cfg.INPUT.MASK_FORMAT if name in cfg.DATASETS.TRAIN else "bitmask"  # evaluation reads any
    cleaned = clean_annotations(read, "instance" in labelled, mask_format)
    images, shown = image_paths(read), classes.shown_classes(cfg, cleaned.records)
    findings.refuse(files.missing_files(images, read, cfg.MTL.TASKS, listing), name)
    _look_into_files(cfg, name, cleaned.records, listing, findings)  # which have their sizes as numbers
    findings.refuse(cleaned.lines(cleaned.refused), name)
    for lines in (
        files.uncuttable(cfg, name, read),
        classes.wrong_numbers(cfg, name, labelled),
        classes.wrong_mappings(name, labelled),
        wrong_classes(cfg, name, read),
        classes.wrong_category_ids(name, shown),
        records.not_divisible(cfg, name, read),
        coco_file.shared_image_ids(name, read),
        records.not_told_apart(read) if name in cfg.DATASETS.TEST else (),
    ):
        findings.refuse(lines, name)
    findings.warn(records.listed_twice(read) if name not in cfg.DATASETS.TEST else (), name)
    return _Known(labelled, cleaned.objects, shown, listing.places(images) if cfg.DATASETS.TEST else {})


def _look_into_files(cfg: CfgNode, name: str, read: Records, listing: Listing, findings: Findings) -> None:
    """Headers of all label maps and of their images, and of a few images that have none; pixels of some maps."""
    start = time.monotonic()
    named = [r for r in read if "image" not in r]
    maps = [r for r in named if label_maps.KEY in r] if "semantic" in cfg.MTL.TASKS else []
    others = [r for r in named if label_maps.KEY not in r] if maps else named
    sample = [_without_map(r) for r in files.spread(others, files.LOOKED_AT)]
    # At random: where time does not reach for all, those that are looked at are spread over the data set.
    order = np.random.default_rng(0).permutation(len(maps))
    headers = files.read_headers((*sample, *(maps[i] for i in order)), listing)
    findings.refuse(files.wrong_images([*maps, *sample], headers), name)
    if not maps:
        return
    findings.refuse(label_maps.wrong_headers(maps, headers), name)
    findings.warn(label_maps.turned_images(maps, headers), name)
    findings.warn(label_maps.not_looked_at(maps, headers, listing), name)
    usable = [r for r in maps if label_maps.is_usable(headers.get(r[label_maps.KEY]))]
    looked_at = _look_at_pixels(cfg, name, usable, findings)
    logger.info(
        "%s: %d headers and the pixels of %d label maps looked at in %.1f s",
        name, len(headers), looked_at, time.monotonic() - start,
    )  # fmt: skip


def _without_map(record: dict[str, Any]) -> dict[str, Any]:
    """The record without the label map that no task reads."""
    return {key: value for key, value in record.items() if key != label_maps.KEY}


def _look_at_pixels(cfg: CfgNode, name: str, maps: Records, findings: Findings) -> int:
    """How many label maps were looked at."""
    odd = list(classes.wrong_ignored_id(cfg, name))
    findings.refuse(odd, name)
    if odd:
        return 0
    head, metadata = cfg.MODEL.SEM_SEG_HEAD, MetadataCatalog.get(name)
    names = metadata.get("stuff_classes") or ()
    meaning = pixels.Meaning(names, head.NUM_CLASSES, metadata.get("ignore_label", head.IGNORE_VALUE))
    found = pixels.count_pixels(maps, meaning)
    findings.refuse(pixels.unknown_classes(found, meaning), name)
    findings.warn(pixels.unseen_classes(found, meaning), name)
    return len(found.counts)


def _compare_images(cfg: CfgNode, known: dict[str, _Known], findings: Findings) -> None:
    train = [known[name].places for name in dict.fromkeys(cfg.DATASETS.TRAIN) if name in known]
    for name in dict.fromkeys(cfg.DATASETS.TEST):
        if name in known:
            findings.warn(files.shared_images(train, known[name].places), name)
