"""The data sets of a config as they are trained on and evaluated, and what makes samples of their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from mtl_d2.data import DataError, MultiTaskMapper
from mtl_d2.data.augmentations import build_augmentations
from mtl_d2.data.loader import training_records, training_sets
from mtl_d2.data.prepared import find, place_of
from mtl_d2.data.union import training_order
from mtl_d2.engine.build import build_allocation
from mtl_d2.inspection.draws import Draws, draw_updates
from mtl_d2.tasks.base import Record
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import supervision

Place = tuple[int, int]  # position in the stream, which augmentation depends on, and number of the record in its set


@dataclass
class DataSet:
    """One data set.

    Attributes:
        name: of it.
        is_trained_on: whether it is one of ``DATASETS.TRAIN``, and seen with their augmentation.
        records: as they are trained on or evaluated.
        places: of its samples, in the order in which they are looked at.
    """

    name: str
    is_trained_on: bool
    records: Sequence[Record]
    places: list[Place] = field(default_factory=list)

    @property
    def metadata(self) -> Any:
        """Of the catalog."""
        return MetadataCatalog.get(self.name)


@dataclass
class DataSets:
    """All of a config.

    Attributes:
        sets: those that can be read, training sets first.
        unread: a line for each of the others.
        draws: what updates are made of; None where that cannot be said.
    """

    sets: list[DataSet] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    draws: Draws | None = None


def read_data_sets(cfg: CfgNode, updates: int) -> DataSets:
    """Reads all records, and draws what ``updates`` are made of. What cannot be read is noted, and left out."""
    read = DataSets()
    trained = tuple(dict.fromkeys(cfg.DATASETS.TRAIN))
    try:
        _read_training(cfg, read, updates)
    except Exception as error:  # noqa: BLE001  # each set that can be read is looked at
        read.unread += str(error).splitlines() if isinstance(error, DataError) else ()
        for name in trained:
            _read_one(cfg, read, name, is_trained_on=True)
    of_tests = _of_tests(cfg)
    for name in dict.fromkeys(cfg.DATASETS.TEST):
        _read_one(of_tests, read, name, is_trained_on=False)
    read.unread = list(dict.fromkeys(read.unread))
    return read


def _read_training(cfg: CfgNode, read: DataSets, updates: int) -> None:
    """The training sets together.

    Raises:
        DataError: one of them cannot be trained on, or they cannot be together.
    """
    place = place_of(cfg)
    prepared = find(place) if place is not None else None
    has_sets = prepared is not None and prepared.sets
    sets = [prepared.sets[name] for name in cfg.DATASETS.TRAIN] if prepared and has_sets else training_sets(cfg)
    order = training_order(cfg, sets, max(cfg.SEED, 0))
    kinds = kinds_of(cfg.MTL.TASKS)
    read.draws = draws = draw_updates(cfg, sets, order, build_allocation(cfg), kinds, updates)
    first = [0, *accumulate(map(len, sets))]
    for i, (name, records) in enumerate(zip(cfg.DATASETS.TRAIN, sets, strict=True)):
        drawn = [(position, index - first[i]) for position, index in draws.places.get(i, ())]
        read.sets.append(DataSet(name, True, records, _with_rest(drawn, len(records))))


def _with_rest(drawn: list[Place], number: int) -> list[Place]:
    """Those that are drawn, and then the records that are not, at positions behind."""
    seen = {index for _, index in drawn}
    last = max((position for position, _ in drawn), default=-1)
    rest = (index for index in range(number) if index not in seen)
    return drawn + [(last + 1 + i, index) for i, index in enumerate(rest)]


def _read_one(cfg: CfgNode, read: DataSets, name: str, *, is_trained_on: bool) -> None:
    if name not in DatasetCatalog:  # which the check says, with the nearest names
        return
    try:
        records = training_records(cfg, name)
    except DataError as error:
        read.unread += [line if line.startswith(name) else f"{name}: {line}" for line in str(error).splitlines()]
    except Exception as error:  # noqa: BLE001  # whatever a reader raises is said on the page
        read.unread.append(f"{name}: its reader ends with {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    else:
        read.sets.append(DataSet(name, is_trained_on, records, _evenly(len(records))))


def _evenly(number: int) -> list[Place]:
    """All records, so ordered that the first of them, however many, are spread over the set."""
    step = next((step for step in range(max(1, round(number * 0.618)), number + 1) if _coprime(step, number)), 1)
    return [(i, i * step % number) for i in range(number)]


def _coprime(one: int, other: int) -> bool:
    while other:
        one, other = other, one % other
    return one == 1


def _of_tests(cfg: CfgNode) -> CfgNode:
    """Nothing is held out of a test set, dropped, or taught by teachers."""
    changed = cfg.clone()
    changed.defrost()
    changed.MTL.DATA.VALIDATION_SHARE = 0.0
    changed.MTL.PSEUDO_LABELS.FOLDERS = ()
    changed.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    return changed


class SampleMaker:
    """Makes samples with labels of records: with the augmentation of training, or only resized as for tests."""

    def __init__(self, cfg: CfgNode, is_trained_on: bool) -> None:
        arguments = MultiTaskMapper.from_config(cfg, True)
        arguments["seed"] = max(cfg.SEED, 0)
        if not is_trained_on:
            arguments["augmentations"] = build_augmentations(cfg, False)
        self.mapper = MultiTaskMapper(**arguments)

    def __call__(self, record: Record, position: int) -> dict[str, Any]:
        """The sample; a record that holds its image is one already.

        Raises:
            DataError: a file cannot be read, or does not fit.
        """
        if "image" in record:
            return {**record, **supervision(record, self.mapper.kinds), "position": position}
        return self.mapper(record, position)
