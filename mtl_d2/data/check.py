"""What is wrong with the data, all of it at once, before anything is built."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from detectron2.config import CfgNode

from mtl_d2.data.annotated_classes import with_states
from mtl_d2.data.annotations import clean_annotations
from mtl_d2.data.checks import classes, coco_file, files, mapped_classes, partial_classes, records
from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.checks.findings import Findings
from mtl_d2.data.checks.labels import unlabelled
from mtl_d2.data.checks.pseudo_labels import look_at_folders
from mtl_d2.data.class_mapping import map_classes, mapping_of
from mtl_d2.data.collector import collection_paused
from mtl_d2.data.errors import DataError
from mtl_d2.data.kept_lines import keeping_lines
from mtl_d2.data.listing import Listing, image_paths
from mtl_d2.data.loader import training_sets
from mtl_d2.data.once import inform, say, speaks
from mtl_d2.data.pictures import TEST_IMAGES, TRAINED_ON, pictures, trained_on
from mtl_d2.data.prepared import Place, Prepared, alone, find, keep, metadata_of, place_of
from mtl_d2.data.progress import Progress
from mtl_d2.data.same_images import refused_images
from mtl_d2.data.seen import Seen, what_was_seen
from mtl_d2.data.union import UNION, sampling
from mtl_d2.tasks.base import TaskKind, first_of_each
from mtl_d2.tasks.registry import kinds_of

logger = logging.getLogger(__name__)


@collection_paused()
def check_data(cfg: CfgNode) -> None:
    """Read the label files of all data sets of the config and say everything that keeps them from being trained on.

    Files are looked for, in one listing per folder. The headers of all label maps and of their images are read, as far
    as half a minute for each data set reaches, and of a few images where there are no maps; the pixels of some maps.
    What may be meant so is warned of, by the first of several processes.

    Of large data sets this is done once, by one process: it keeps what it found, and the records to train on, for the
    others and for later starts; see ``prepared``.

    Args:
        cfg: ``DATASETS.TRAIN`` and ``DATASETS.TEST``, ``MTL.TASKS``, ``MTL.DATA``, ``SOLVER.IMS_PER_BATCH``, ``SEED``,
            ``OUTPUT_DIR``.

    Raises:
        DataError: one line per mistake.
    """
    map_classes(cfg)
    with Progress() as progress:
        progress.now("looking whether the data sets are known")
        place = place_of(cfg)
        warned = _examine(cfg, progress).findings.warned if place is None else _kept_or_found(cfg, place, progress)
    for line in warned if speaks() else ():
        logger.warning("%s", line)


def _kept_or_found(cfg: CfgNode, place: Place, progress: Progress) -> list[str]:
    """What is warned of, of a check that another process has made or that this one makes now."""
    prepared = find(place)
    if prepared is None:
        progress.now("waiting for another process that reads the data sets")
        with alone(place):
            prepared = find(place) or _prepare(cfg, place, progress)
    say(prepared.met)
    return prepared.warned


def _prepare(cfg: CfgNode, place: Place, progress: Progress) -> Prepared:
    """Checks, and makes the records to train on of those that were checked; keeps both."""
    before = {name: metadata_of(name) for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))}
    prepared = Prepared()
    try:
        with keeping_lines() as prepared.met:
            checked = _examine(cfg, progress)
    except BaseException:
        say(prepared.met)
        raise
    prepared.warned = checked.findings.warned
    progress.now("making the records to train on")
    with keeping_lines() as prepared.built, suppress(Exception):  # which is told where they are trained on
        prepared.sets = dict(zip(cfg.DATASETS.TRAIN, training_sets(cfg, checked.known), strict=True))
    keep(place, prepared, before, checked.seen)
    return prepared


@dataclass
class _Checked:
    """What was found."""

    findings: Findings = field(default_factory=Findings)
    listing: Listing = field(default_factory=Listing)
    known: dict[str, Examination] = field(default_factory=dict)

    def seen(self) -> Seen:
        """What it depends on besides label files; images of which records do not tell the size may have been opened."""
        of_all = self.known.values()
        headers = (file for examination in of_all for file in examination.headers)
        files = (r for examination in of_all for r in examination.records if "image" not in r)
        without_size = (r["file_name"] for r in files if not {"height", "width"} <= r.keys())
        return what_was_seen(self.listing, (*headers, *without_size))


def _examine(cfg: CfgNode, progress: Progress) -> _Checked:
    """Looks at all data sets.

    Raises:
        DataError: one line per mistake; warnings have been logged then.
    """
    checked = _Checked()
    findings, known = checked.findings, checked.known
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        progress.now(f"{name}: reading its records")
        read, lines = records.read(name, checked.listing)
        findings.refuse(lines, name)
        if read is not None:
            progress.now(f"{name}: checking its {len(read)} records")
            known[name] = Examination(cfg, name, read, checked.listing, findings)
            _look_at(known[name])
    progress.now("checking the data sets together")
    findings.refuse(records.wrong_shares(cfg))
    findings.refuse(records.named_twice(cfg))
    if known.keys() >= set(cfg.DATASETS.TRAIN):
        _look_at_all(cfg, known, findings)
    _compare_images(cfg, known, findings)
    _compare_pictures(cfg, known, findings)
    if findings.refused:
        for line in findings.warned if speaks() else ():
            logger.warning("%s", line)
        raise DataError("\n".join(findings.refused))
    return checked


def _look_at(examination: Examination) -> None:
    cfg, read, kinds = examination.cfg, examination.records, kinds_of(examination.cfg.MTL.TASKS)
    examination.labelled = {kind.task for kind in kinds if kind.is_in_some(read)}
    labelled = [kind for kind in kinds if kind.task in examination.labelled]
    mask_format = cfg.INPUT.MASK_FORMAT if examination.is_trained_on else "bitmask"  # evaluation reads any
    _look_at_mapping(examination)
    examination.cleaned_for = (any(kind.reads_masks for kind in labelled), mask_format)
    examination.cleaning = cleaned = clean_annotations(read, *examination.cleaned_for)
    examination.cleaned = cleaned.records  # which have their sizes as numbers
    images = image_paths(read)
    examination.refuse(
        files.missing_files(images, read, [key for kind in kinds for key in kind.file_keys], examination.listing)
    )
    _look_into_files(examination, [kind.record_key for kind in labelled if kind.is_map])
    examination.refuse(cleaned.lines(cleaned.refused))
    for kind in labelled:
        examination.refuse(classes.wrong_number(cfg, examination.metadata, kind))
        examination.refuse(classes.wrong_mapping(examination.metadata, kind))
        examination.refuse(partial_classes.wrong_lists(examination.metadata, kind.classes_key))
    for kind in first_of_each(labelled):
        kind.check_records(examination)
    examination.refuse(records.not_divisible(cfg, examination.name, read))
    examination.refuse(coco_file.shared_image_ids(examination.name, read))
    if examination.name in cfg.DATASETS.TEST:
        examination.refuse(records.not_told_apart(read))
    else:
        examination.warn(records.listed_twice(read, [kind.record_key for kind in kinds]))
    if cfg.DATASETS.TEST:
        examination.places = examination.listing.places(images)


def _look_at_mapping(examination: Examination) -> None:
    """How classes are mapped to the run's, and what may be said of them under another key."""
    reader = mapping_of(examination.name)
    metadata = reader.metadata if reader else examination.metadata
    examination.warn(partial_classes.unread_keys(metadata))
    if reader is None:
        return
    for line in mapped_classes.mapping_lines(reader):
        inform(logger, f"{examination.name}: {line}")
    examination.refuse(mapped_classes.wrong_synonyms(reader))
    examination.warn(mapped_classes.doubtful_names(reader))


def _look_into_files(examination: Examination, map_keys: Sequence[str]) -> None:
    """Headers of all label maps and of their images, and of a few images that have none."""
    named = [r for r in examination.cleaned if "image" not in r]
    maps = [r for r in named if any(key in r for key in map_keys)]
    without_maps = [r for r in named if not any(key in r for key in map_keys)]
    sample = files.spread(without_maps, files.LOOKED_AT)
    # At random: where time does not reach for all, those that are looked at are spread over the data set.
    order = np.random.default_rng(0).permutation(len(maps))
    examination.headers = files.read_headers((*sample, *(maps[i] for i in order)), map_keys, examination.listing)
    examination.refuse(files.wrong_images([*maps, *sample], examination.headers))


def _look_at_all(cfg: CfgNode, known: dict[str, Examination], findings: Findings) -> None:
    """What is wrong with the data sets taken together."""
    labelled = {name: examination.labelled for name, examination in known.items()}
    findings.refuse(unlabelled(cfg, look_at_folders(cfg, labelled, findings)))
    findings.refuse(classes.different_classes(cfg, labelled))
    trained_on = {name: known[name] for name in cfg.DATASETS.TRAIN}
    keys = {kind.classes_key: kind.record_key for kind in kinds_of(cfg.MTL.TASKS) if kind.classes_key}
    try:
        listed = {name: with_states(known.cleaned, known.metadata, keys) for name, known in trained_on.items()}
    except DataError as error:  # of one data set, which may have been said already
        findings.refuse(str(error).splitlines() if not findings.refused else ())
    else:
        _look_at_lists(cfg, labelled, listed, findings)
        apart = sampling(cfg) != UNION
        findings.refuse(refused_images(cfg.MTL.DATA.SAME_IMAGES, listed, kinds_of(cfg.MTL.TASKS), apart))
    kinds = [
        k for k in kinds_of(cfg.MTL.TASKS) if any(k.task in examination.labelled for examination in trained_on.values())
    ]
    for kind in first_of_each(kinds):
        same = {k.task for k in kinds if k.sample_key == kind.sample_key}
        trained = {name: examination for name, examination in trained_on.items() if same & examination.labelled}
        for name, line in kind.check_training_sets(trained):
            if not name:
                findings.refuse([line])
            elif not findings.refused:
                findings.warn([line], name)


def _look_at_lists(
    cfg: CfgNode, labelled: Mapping[str, set[str]], listed: Mapping[str, records.Records], findings: Findings
) -> None:
    """What the training sets are annotated for, together."""
    lists: dict[str, list[TaskKind]] = {}
    for kind in kinds_of(cfg.MTL.TASKS):
        lists.setdefault(kind.classes_key, []).append(kind)
    for key, kinds in lists.items():
        tasks = [kind.task for kind in kinds]
        sets = {
            name: [r for r in of_set if any(map(r.__contains__, {kind.record_key for kind in kinds}))]
            for name, of_set in listed.items()
            if key and labelled[name].intersection(tasks)
        }
        for name, line in partial_classes.nowhere_annotated(sets, key, tasks) if sets else ():
            findings.warn([line], name) if name else findings.refuse([line])


def _compare_images(cfg: CfgNode, known: dict[str, Examination], findings: Findings) -> None:
    train = [known[name].places for name in dict.fromkeys(cfg.DATASETS.TRAIN) if name in known]
    for name in dict.fromkeys(cfg.DATASETS.TEST):
        if name in known:
            findings.warn(files.shared_images(train, known[name].places), name)


def _compare_pictures(cfg: CfgNode, known: dict[str, Examination], findings: Findings) -> None:
    """Refuses training sets that have pictures of another one that is tested on, unless they say that they do."""
    if not cfg.DATASETS.TEST:
        return
    shown = {name: pictures(examination.records) for name, examination in known.items()}
    for train, test in product(dict.fromkeys(cfg.DATASETS.TRAIN), dict.fromkeys(cfg.DATASETS.TEST)):
        if train != test and shown.keys() >= {train, test}:
            says_so = known[train].metadata.get(TEST_IMAGES) == TRAINED_ON
            tell = findings.warn if says_so else findings.refuse
            tell(trained_on(shown[train], test, shown[test]), train)
