"""What the check of a run's data found and the records that it trains on, kept in a file for all processes and starts.

The file is good for the config, code and label files that it was made with, and as long as the images and labels are
as they were seen; see ``sources`` and ``seen``. Anything else is read, checked and cleaned anew, and the file replaced.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import detectron2
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

import mtl_d2
from mtl_d2.data.file_digests import digest, digest_of_file, plain, tree
from mtl_d2.data.kept_lines import Line
from mtl_d2.data.once import warn_once
from mtl_d2.data.reading import fingerprint_of, remember
from mtl_d2.data.record_file import DamagedFileError, StoredRecords, pack, read_header, read_sets, unpack, write_records
from mtl_d2.data.seen import Seen, is_as_seen
from mtl_d2.data.sources import size_of, source
from mtl_d2.locks import lock_folder
from mtl_d2.options import Option, declare

declare(
    "MTL.DATA",
    {
        "CACHE": Option(
            "records",
            "folder, below OUTPUT_DIR if it is relative, in which checked and cleaned records of large data sets are "
            "kept for other processes and later starts; empty: none. See docs/datasets.md",
            "a path, or ''",
            lambda value: isinstance(value, str),
        )
    },
)

WORTH = (
    1 << 22
)  # bytes of label files from which on it takes longer to read them than to look whether they are the same
LOCK = ".records.lock"  # another one than that of a run, which may keep its records in its own folder
WAIT = 0.2  # seconds between two looks whether another process is done
# What says nothing of records: nodes and keys of a config.
_ELSEWHERE = ("OUTPUT_DIR", "SEED", "TEST", "VIS_PERIOD", "CUDNN_BENCHMARK", "MODEL.WEIGHTS", "MODEL.DEVICE")
_OF_MTL = ("TASKS", "DATA", "PSEUDO_LABELS", "TASK_OPTIONS")  # what says something, of MTL

logger = logging.getLogger(__name__)
Records = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where a run's records are kept.

    Attributes:
        file: of them.
        key: what it must have been made with.
    """

    file: Path
    key: str


@dataclass
class Prepared:
    """What is known of a run's data before it begins.

    Attributes:
        warned: of the check, a line each.
        met: lines of the log while records were read and checked.
        built: lines of the log while records to train on were made of them.
        sets: the records to train on by data set; empty where they have not been made.
    """

    warned: list[str] = field(default_factory=list)
    met: list[Line] = field(default_factory=list)
    built: list[Line] = field(default_factory=list)
    sets: Mapping[str, Records] = field(default_factory=dict)


def place_of(cfg: CfgNode) -> Place | None:
    """Where the records of ``cfg`` are to be kept; None where none are, as they are read in no time."""
    names = tuple(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    if not cfg.MTL.DATA.CACHE or any(name not in DatasetCatalog for name in names):
        return None
    try:
        if sum(map(size_of, names)) < WORTH:
            return None
        for name in names:
            metadata_of(name)
        run = relevant(cfg)
        content = [pack([name, source(name)]) for name in names]
        outside = [pack([path, digest_of_file(path)]) for path in cfg.MTL.DATA.MODULES]
        outside += [pack([folder, tree(folder)]) for folder in cfg.MTL.PSEUDO_LABELS.FOLDERS]
    except Exception:  # whatever a reader raises is told by the check
        logger.debug("no place for records", exc_info=True)
        return None
    slot = digest([run, pack(names)])
    folder = Path(cfg.OUTPUT_DIR, os.path.expanduser(cfg.MTL.DATA.CACHE))
    return Place(folder / f"{slot[:32]}.records", digest([slot.encode(), *content, *outside, pack(_code())]))


def find(place: Place) -> Prepared | None:
    """What is kept there; None where it is not, or no longer, what would be found now."""
    if not os.path.isfile(place.file):
        return None
    try:
        header = read_header(place.file)
        if header["key"] != place.key or not _are_known(header["metadata"]) or not is_as_seen(header["seen"]):
            return None
        sets: Mapping[str, StoredRecords] = read_sets(place.file)
    except (OSError, DamagedFileError, KeyError, TypeError, AttributeError) as error:
        warn_once(logger, f"{place.file} cannot be used ({error}): the data sets are read anew")
        return None
    for name, (_, after) in header["metadata"].items():
        _set_metadata(name, unpack(after))
    for name, (basis, labels) in header["digests"].items():
        remember(name, basis, labels)
    met, built = ([Line(*line) for line in header[key]] for key in ("met", "built"))
    return Prepared(header["warned"], met, built, sets)


def keep(place: Place, prepared: Prepared, before: Mapping[str, bytes], seen: Callable[[], Seen]) -> None:
    """Keeps it for others, if the disk takes it and the records can be written.

    Args:
        place: of the file.
        prepared: what goes there.
        before: the metadata of all data sets before they were read; see ``metadata_of``.
        seen: gives what the check saw.
    """
    fingerprints = {name: fingerprint_of(name) for name in before}
    try:
        header = {
            "key": place.key,
            "metadata": {name: [content, metadata_of(name)] for name, content in before.items()},
            "seen": seen(),
            "digests": {name: [of.basis, of.labels] for name, of in fingerprints.items()},
            "warned": prepared.warned,
            "met": [list(line) for line in prepared.met],
            "built": [list(line) for line in prepared.built],
        }
        write_records(place.file, header, prepared.sets)
    except TypeError as error:
        logger.info("records are not kept for other processes and later starts: %s", error)
    except OSError as error:
        warn_once(
            logger,
            f"records are not kept for other processes and later starts ({error}): set MTL.DATA.CACHE to a folder "
            "that can be written to, or to ''",
        )


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Keeps other processes waiting that want to make what is missing there, where a folder can be locked."""
    try:
        place.file.parent.mkdir(parents=True, exist_ok=True)
        while (lock := lock_folder(place.file.parent, LOCK)) is None:
            time.sleep(WAIT)
    except OSError:  # read-only, or of a file system without locks: each process makes its own
        lock = None
    with lock or nullcontext():
        yield


def metadata_of(name: str) -> bytes:
    """The metadata of a data set, to be compared.

    Raises:
        TypeError: they hold what cannot be written.
    """
    return pack(plain(dict(sorted(MetadataCatalog.get(name).as_dict().items()))))


def _are_known(metadata: Mapping[str, Sequence[bytes]]) -> bool:
    return all(metadata_of(name) in pair for name, pair in metadata.items())


def _set_metadata(name: str, after: dict[str, Any]) -> None:
    present = MetadataCatalog.get(name).as_dict()
    if plain(present) == after:
        return
    if all(key in after and plain(value) == after[key] for key, value in present.items()):
        MetadataCatalog.get(name).set(**{key: value for key, value in after.items() if key not in present})
    else:  # classes that were mapped
        MetadataCatalog[name] = Metadata(**after)


def relevant(cfg: CfgNode) -> bytes:
    """The part of a config that records and their checks may depend on."""
    part = cfg.clone()
    part.defrost()
    for key in _ELSEWHERE:
        node, _, name = key.rpartition(".")
        (part[node] if node else part).pop(name, None)
    if cfg.MTL.DATA.VALIDATION_SHARE > 0:
        part.SEED = cfg.SEED
    part.SOLVER = CfgNode({"IMS_PER_BATCH": cfg.SOLVER.IMS_PER_BATCH})
    part.MTL = CfgNode({key: copy.deepcopy(cfg.MTL[key]) for key in _OF_MTL})
    part.MTL.DATA.pop("CACHE")
    part.DATALOADER.pop("NUM_WORKERS", None)
    return part.dump().encode()


@functools.cache
def _code() -> list[str]:
    """What makes of the same files the same records: our own code by its content, others by their version."""
    folder = Path(mtl_d2.__file__).parent
    own = digest(path.read_bytes() for path in sorted(folder.rglob("*.py")))
    return [own, detectron2.__version__, platform.python_version(), str(find_spec("shapely") is not None)]
