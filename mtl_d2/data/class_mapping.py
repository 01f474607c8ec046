"""Data sets with lists of classes of their own, mapped by name to the one list of a run, ``MTL.DATA.CLASSES``.

A class of a data set is the run's class of the same name, or else the one that ``class_synonyms`` in its metadata gives
for it; several may be one. What the run's list lacks is nothing that is sought: its objects are background, as they are
everywhere, and its pixels are ignored. What the data set lacks, it is not annotated for, and what is put together of
several classes is annotated exhaustively if they all are. Where the lists are the same, nothing is changed.

The catalogs have the data sets as the config at hand wants them: records and metadata are those of the run's list for
whoever asks. What the reader itself sets or asks in the catalog while it reads are its own metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.data.annotated_classes import (
    EXHAUSTIVE,
    NEGATIVE_IDS,
    NOT_ANNOTATED,
    NOT_EXHAUSTIVE,
    NOT_EXHAUSTIVE_IDS,
    AnnotatedClasses,
    annotated_classes,
    annotated_key,
    not_exhaustive_key,
    of_image,
    other_key,
)
from mtl_d2.data.errors import DataError
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.tasks.registry import kinds_of

OBJECTS, NODES = "thing_classes", {"thing_classes": "THING", "stuff_classes": "STUFF"}  # see ``config_key``
SYNONYMS = "class_synonyms"  # of metadata: from names of its own to those of the run
IGNORED, NO_CLASS = 255, 254  # values of a mapped label map: without a label, and what the data set has no class for
MOST_STUFF = NO_CLASS  # names of a list: the values above mean something else
Record = dict[str, Any]


def config_key(classes_key: str) -> str:
    """The key in ``MTL.DATA.CLASSES`` of a list of metadata: "STUFF/lane" of "stuff_classes/lane"; "" if none."""
    listed, slash, own_name = classes_key.partition("/")
    return NODES[listed] + slash + own_name if listed in NODES else ""


@dataclass(frozen=True)
class ClassMap:
    """From the class ids of a data set's own list to those of the run's.

    Attributes:
        ids: for each own class; -1 = the run has none of it.
        number: of the run's classes.
    """

    ids: tuple[int, ...]
    number: int

    def states(self, own: bytes) -> bytes:
        """States of the run's classes of those of the data set's; see ``AnnotatedClasses``."""
        places, targets = self._sought
        given = np.frombuffer(own, np.uint8)[places]
        least, most = np.full(self.number, EXHAUSTIVE), np.full(self.number, NOT_ANNOTATED)
        np.minimum.at(least, targets, given)
        np.maximum.at(most, targets, given)
        states = np.where(least == most, least, NOT_EXHAUSTIVE)
        states[least > most] = NOT_ANNOTATED  # of which there is no part
        return states.astype(np.uint8).tobytes()

    @cached_property
    def _sought(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The own classes that the run has, and which they are there."""
        ids = np.array(self.ids, dtype=np.int64)
        return np.flatnonzero(ids >= 0), ids[ids >= 0]

    def table(self, own: bytes | None, ignored: int) -> bytes:
        """What a record's ``sem_seg_table`` becomes: the run's class of each stored value, or ``IGNORED``.

        Args:
            own: the data set's class of each stored value; None = values are classes.
            ignored: the id of pixels without a label among them.
        """
        of_id = [IGNORED if i == ignored else NO_CLASS for i in range(256)]
        for i, mapped in enumerate(self.ids[:256]):
            if i != ignored:
                of_id[i] = mapped if mapped >= 0 else IGNORED
        return bytes(of_id[value] for value in (range(256) if own is None else own))


def class_map(own: Sequence[str], names: Sequence[str], synonyms: Mapping[str, str]) -> ClassMap | None:
    """How ``own`` classes are mapped to ``names``; None where they are the same."""
    if list(own) == list(names):
        return None
    ids = {name: i for i, name in enumerate(names)}
    return ClassMap(tuple(ids.get(name, ids.get(synonyms.get(name, name), -1)) for name in own), len(names))


class MappedReader:
    """Reads the records of a data set with the class ids of the run.

    Attributes:
        name: of the data set.
        read: its own reader.
        metadata: its own.
        lists: names of the run's classes, by the key of metadata.
    """

    def __init__(
        self, name: str, read: Callable[[], list[Record]], metadata: Metadata, lists: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Args as the attributes."""
        self.name, self.read, self.metadata, self.lists = name, read, metadata, lists

    def __call__(self) -> list[Record]:
        """The mapped records; the data set's metadata in the catalog follow what its reader made of its own.

        Raises:
            DataError: none of its classes is one of the run's, or an annotation has no class.
        """
        with self._own_metadata():
            records = self.read()
        self.describe()
        for key, mapping in self.maps().items():
            if key == OBJECTS:
                own = annotated_classes(self.metadata)
                labelled, convert = "annotations", partial(self._with_objects, mapping, own)
            else:
                keys = map_keys(key)
                labelled, convert = keys.file, partial(self._with_map, mapping, keys)
            self._require_common(key, mapping, any(labelled in record for record in records))
            records = [convert(record) if labelled in record else record for record in records]
        return records

    def describe(self) -> None:
        """Has the catalog hold metadata with the run's classes, as far as the data set's own are known."""
        described = self.metadata.as_dict()
        for key, mapping in self.maps().items():
            self._describe_list(described, key, mapping)
        present = MetadataCatalog.get(self.name).as_dict()
        if any(key not in present or present[key] != value for key, value in described.items()):
            MetadataCatalog[self.name] = Metadata(**described)

    def _describe_list(self, described: dict[str, Any], key: str, mapping: ClassMap) -> None:
        names = self.lists[key]
        states = mapping.states(annotated_classes(self.metadata, key).states)
        prefix, _, suffix = key.partition("classes")
        for gone in ("evaluator_type", f"{prefix}colors{suffix}", f"{prefix}dataset_id_to_contiguous_id{suffix}"):
            described.pop(gone, None)  # they go with its own list
        described[key] = list(names)
        described[annotated_key(key)] = [n for n, s in zip(names, states, strict=True) if s == EXHAUSTIVE]
        described[not_exhaustive_key(key)] = [n for n, s in zip(names, states, strict=True) if s == NOT_EXHAUSTIVE]
        if key != OBJECTS:
            described[map_keys(key).ignored] = IGNORED
            self._describe_other(described, key, mapping)

    def _describe_other(self, described: dict[str, Any], key: str, mapping: ClassMap) -> None:
        """The class of pixels that may hide others: it goes where the run has none; what is none is refused later."""
        own = list(map(str, self.metadata.get(key)))
        other = described.get(other_key(key))
        if other not in own:
            return
        i = mapping.ids[own.index(other)]
        if i < 0:
            described.pop(other_key(key))
        else:
            described[other_key(key)] = self.lists[key][i]

    def maps(self) -> dict[str, ClassMap]:
        """By the key of metadata, how its lists are mapped that are not the run's."""
        own = {key: self.metadata.get(key) for key in self.lists}
        maps = {
            key: class_map(list(map(str, own[key])), names, self.synonyms())
            for key, names in self.lists.items()
            if own[key]
        }
        return {key: mapping for key, mapping in maps.items() if mapping is not None}

    def synonyms(self) -> Mapping[str, str]:
        """From its own names to the run's."""
        synonyms = self.metadata.get(SYNONYMS)
        return synonyms if isinstance(synonyms, Mapping) else {}  # what is none of these is refused in the checks

    @contextmanager
    def _own_metadata(self) -> Iterator[None]:
        mapped = MetadataCatalog.get(self.name)
        MetadataCatalog[self.name] = self.metadata
        try:
            yield
        finally:
            MetadataCatalog[self.name] = mapped

    def _require_common(self, key: str, mapping: ClassMap, labelled: bool) -> None:
        if labelled and max(mapping.ids) < 0:
            raise DataError(
                f"{self.name}: none of its `{key}` {list(self.metadata.get(key))[:5]} is one of "
                f"MTL.DATA.CLASSES.{config_key(key)} {list(self.lists[key])[:5]}: name them in the list, or give "
                f"`{SYNONYMS}` in its metadata"
            )

    def _with_objects(self, mapping: ClassMap, own_states: AnnotatedClasses, record: Record) -> Record:
        stated = of_image(record, own_states, self.metadata)
        kept = []
        for annotation in record["annotations"] or ():
            i = annotation.get("category_id")
            if i not in range(len(mapping.ids)):
                raise DataError(
                    f"{self.name}: {record.get('file_name')} has an annotation of class {i!r}, but its "
                    f"`thing_classes` are 0..{len(mapping.ids) - 1}: correct its reader"
                )
            if mapping.ids[i] >= 0:
                kept.append({**annotation, "category_id": mapping.ids[i]})
        rest = {key: value for key, value in record.items() if key not in (NEGATIVE_IDS, NOT_EXHAUSTIVE_IDS)}
        said = {} if stated is own_states else {annotated_key("thing_classes"): mapping.states(stated.states)}
        return {**rest, "annotations": kept, **said}

    def _with_map(self, mapping: ClassMap, keys: LabelMapKeys, record: Record) -> Record:
        ignored = record.get(keys.ignored, self.metadata.get(keys.ignored, IGNORED))
        return {**record, keys.table: mapping.table(record.get(keys.table), ignored), keys.ignored: IGNORED}


def mapping_of(name: str) -> MappedReader | None:
    """What maps a data set, if it has another list than the run's."""
    if name not in DatasetCatalog:
        return None
    reader = DatasetCatalog[name]
    return reader if isinstance(reader, MappedReader) and reader.maps() else None


def map_classes(cfg: CfgNode) -> None:
    """Has the catalogs hold the data sets of ``cfg`` with the classes of ``MTL.DATA.CLASSES``, or as they were."""
    wanted = run_lists(cfg)
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        if name not in DatasetCatalog:
            continue
        reader = DatasetCatalog[name]
        if isinstance(reader, MappedReader):
            if reader.lists == wanted:
                continue
            MetadataCatalog[name] = reader.metadata
            reader = _put(name, reader.read)
        if wanted:
            mapped = MappedReader(name, reader, MetadataCatalog.get(name), wanted)
            _put(name, mapped)
            MetadataCatalog[name] = Metadata(name=name)
            mapped.describe()


def run_lists(cfg: CfgNode) -> dict[str, tuple[str, ...]]:
    """The run's lists of classes that it gives for its tasks, by the key of metadata."""
    keys = dict.fromkeys(kind.classes_key for kind in kinds_of(cfg.MTL.TASKS))
    lists = {key: tuple(map(str, cfg.MTL.DATA.CLASSES.get(config_key(key), ()))) for key in keys}
    return {key: names for key, names in lists.items() if names}


def map_keys(classes_key: str) -> LabelMapKeys:
    """Of the label maps whose classes are a list of metadata: "stuff_classes", or of a named task."""
    return LabelMapKeys().named(classes_key.partition("/")[2])


def _put(name: str, reader: Callable[[], list[Record]]) -> Callable[[], list[Record]]:
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, reader)
    return reader
