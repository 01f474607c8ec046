"""Loaders: an endless, exactly resumable one for training, detectron2's own for testing."""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    MetadataCatalog,
    build_detection_test_loader,
    print_instances_class_histogram,
)
from detectron2.utils import comm
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from mtl_d2.data.annotated_classes import with_states
from mtl_d2.data.annotations import clean_annotations, evaluation_records
from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.class_mapping import map_classes
from mtl_d2.data.collector import collection_paused
from mtl_d2.data.errors import DataError
from mtl_d2.data.holdout import divide
from mtl_d2.data.mapper import MultiTaskMapper
from mtl_d2.data.memory import MemoryLoader, MemorySamples, in_memory, memory_test_loader
from mtl_d2.data.once import say
from mtl_d2.data.prepared import Prepared, find, place_of
from mtl_d2.data.pseudo_labelled import has_content, with_pseudo_labels
from mtl_d2.data.reading import read_records, require_same_records
from mtl_d2.data.same_images import Records, each_image_as_asked
from mtl_d2.data.sampler import RankBatches
from mtl_d2.data.union import UNION, lengths, sampling, training_order
from mtl_d2.data.worker_memory import keep_freed_memory, spare_what_stands
from mtl_d2.tasks.registry import kinds_of, label_files

logger = logging.getLogger(__name__)


class MappedRecords(Dataset):
    """Samples by (position, index): the record at ``index``, augmented as ``position`` says."""

    def __init__(self, records: Sequence[dict[str, Any]], mapper: MultiTaskMapper) -> None:
        self._records = DatasetFromList(records, copy=False) if isinstance(records, list) else records
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        position, index = place
        return self._mapper(self._records[index], position)


@collection_paused()
def build_train_loader(
    cfg: CfgNode, start: int = 0, rank: int | None = None, world_size: int | None = None
) -> Iterable[list[dict[str, Any]]]:
    """This rank's endless batches. The same (``cfg.SEED``, position) is the same sample for every number of workers.

    Args:
        cfg: ``DATASETS.TRAIN``, ``MTL.TASKS``, ``MTL.DATA``, ``SOLVER.IMS_PER_BATCH``, ``DATALOADER``, ``INPUT`` and
            ``SEED``; a negative seed is drawn here, the same on all ranks.
        start: positions of the global stream that were consumed before.
        rank: this process; None = ask detectron2.
        world_size: number of processes; None = ask detectron2.

    Returns:
        batches of ``IMS_PER_BATCH / world_size`` samples each.

    Raises:
        DataError: the ranks cannot share ``IMS_PER_BATCH`` evenly, or read different records, or what
            ``training_sets`` says.
    """
    rank = comm.get_rank() if rank is None else rank
    world_size = comm.get_world_size() if world_size is None else world_size
    share_of_batch(cfg, world_size)
    batch_size = cfg.SOLVER.IMS_PER_BATCH
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    map_classes(cfg)
    place = place_of(cfg)
    prepared = find(place) if place is not None else None
    require_same_records(cfg.DATASETS.TRAIN, label_files(cfg.MTL.TASKS))
    sets = _prepared_sets(cfg, prepared) if prepared and prepared.sets else training_sets(cfg)
    order = training_order(cfg, _counted(cfg, sets), seed)
    for line in lengths(cfg, sets, order):
        logger.info("%s", line)
    records: Records = _joined(sets)
    batches = RankBatches(order, batch_size, start, rank, world_size)
    if isinstance(records, list) and in_memory(records):
        return MemoryLoader(MemorySamples(records, cfg.MTL.TASKS), batches)
    return DataLoader(
        MappedRecords(records, MultiTaskMapper(cfg, True, seed=seed)),
        batch_sampler=batches,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        generator=torch.Generator().manual_seed(seed),  # else torch draws from the global one
        worker_init_fn=prepare_worker,
    )


def _prepared_sets(cfg: CfgNode, prepared: Prepared) -> list[Records]:
    say(prepared.built)
    return [prepared.sets[name] for name in cfg.DATASETS.TRAIN]


def _counted(cfg: CfgNode, sets: Sequence[Records]) -> Sequence[Any]:
    """The sets as an order needs them: that of a shuffle their lengths alone, for which no record is made."""
    return [range(len(records)) for records in sets] if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler" else sets


def _joined(sets: Sequence[Records]) -> Any:
    """The records of all sets: a list, or a sequence of those that are kept in a file."""
    if any(isinstance(records, list) for records in sets):
        return list(chain.from_iterable(sets))
    return ConcatDataset(sets)  # type: ignore[arg-type]  # a sequence is a map-style data set


def share_of_batch(cfg: CfgNode, world_size: int) -> int:
    """Samples of a global batch that each of ``world_size`` processes takes.

    Raises:
        DataError: they cannot share ``SOLVER.IMS_PER_BATCH`` evenly.
    """
    batch_size = cfg.SOLVER.IMS_PER_BATCH
    if batch_size < 1 or batch_size % world_size:
        raise DataError(
            f"SOLVER.IMS_PER_BATCH must be a positive multiple of the number of processes, {world_size}; "
            f"found {batch_size}: take {max(1, round(batch_size / world_size)) * world_size}"
        )
    return batch_size // world_size


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """detectron2's loader for a test set, each image once, without labels (with them where records hold images).

    Args:
        cfg: ``INPUT`` and ``DATALOADER.NUM_WORKERS``.
        dataset_name: a registered name.
    """
    map_classes(cfg)
    records = evaluation_records(dataset_name)
    if not records:
        raise DataError(f"{dataset_name} has no images: correct its folder or its reader")
    if in_memory(records):
        return memory_test_loader(records)
    loader = build_detection_test_loader(
        records,
        mapper=MultiTaskMapper(cfg, False),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    loader.generator = torch.Generator().manual_seed(0)  # an evaluation does not move the global generator
    loader.worker_init_fn = prepare_worker
    return loader


def prepare_worker(worker: int) -> None:
    """What a worker's process does first."""
    leave_process_group(worker)
    keep_freed_memory()
    spare_what_stands()


def leave_process_group(worker: int) -> None:
    """Spares a worker the signals that a terminal or a launcher sends to all: its process decides when it ends."""
    os.setpgid(0, 0)


def training_sets(cfg: CfgNode, examined: Mapping[str, Examination] = MappingProxyType({})) -> list[Records]:
    """Records of each of ``DATASETS.TRAIN``, of which several may list an image; see ``MTL.DATA.SAME_IMAGES``.

    Args:
        cfg: of the run.
        examined: data sets that need not be read and cleaned again.

    Raises:
        DataError: an image is in several and is not to be, or cannot be one sample.
    """
    sets: Mapping[str, Records] = {name: training_records(cfg, name, examined.get(name)) for name in cfg.DATASETS.TRAIN}
    if len(sets) > 1:
        drawn_alone = sampling(cfg) != UNION
        sets = each_image_as_asked(cfg.MTL.DATA.SAME_IMAGES, sets, kinds_of(cfg.MTL.TASKS), drawn_alone)
    return [sets[name] for name in cfg.DATASETS.TRAIN]


def training_records(cfg: CfgNode, name: str, examined: Examination | None = None) -> list[dict[str, Any]]:
    """Records of one training set, less those held out, cleaned of annotations that nothing can be learnt from.

    They are in the order of their files' names, so that no training depends on the order that a reader finds them in.
    ``MTL.DATA.VALIDATION_SHARE`` says how many are held out. They have the pseudo labels of ``MTL.PSEUDO_LABELS``.
    ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` drops images that are labelled for detection, show no object, and have no
    label for another task; without it they are background. What is known of an ``examined`` data set is not read again.
    """
    kinds = kinds_of(cfg.MTL.TASKS)
    keys = {kind.record_key for kind in kinds}
    read = examined.records if examined else read_records(name)
    records = sorted(read, key=itemgetter("file_name"))
    records, held = divide(records, cfg.MTL.DATA.VALIDATION_SHARE, cfg.SEED, name)
    if held:
        logger.info("%s: %d images to train on, %d held out", name, len(records), len(held))
    asked = (any(kind.reads_masks for kind in kinds), cfg.INPUT.MASK_FORMAT)
    is_known = examined is not None and asked == examined.cleaned_for and _are_same(records, examined.records)
    cleaned = examined.cleaning if examined and is_known else clean_annotations(records, *asked)
    records = cleaned.records
    for line in cleaned.lines(cleaned.changes) if "annotations" in keys else ():
        logger.warning("%s: %s", name, line)
    records = with_pseudo_labels(cfg, name, records)
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and "annotations" in keys:
        kept = [r for r in records if has_content(r, keys)]
        logger.info("%s: %d of %d images kept, the others show no object", name, len(kept), len(records))
        records = kept
    if not records:
        raise DataError(f"{name}: no image shows an object: set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False")
    with_objects = [r for r in records if r.get("annotations")]
    if with_objects and "annotations" in keys and MetadataCatalog.get(name).get("thing_classes"):
        print_instances_class_histogram(with_objects, MetadataCatalog.get(name).thing_classes)
    records = with_states(
        records, MetadataCatalog.get(name), {k.classes_key: k.record_key for k in kinds if k.classes_key}
    )
    defaults = {key: value for kind in kinds for key, value in kind.record_defaults(cfg, name).items()}
    return [{**defaults, **record} for record in records] if defaults else records


def _are_same(records: Records, others: Records) -> bool:
    """Whether they are the very same objects, in the same order."""
    return len(records) == len(others) and all(map(operator.is_, records, others))
