"""The records of a data set, as every part of a run gets them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from mtl_d2.data.collector import collection_paused
from mtl_d2.data.errors import DataError
from mtl_d2.data.fingerprint import FILE, Fingerprint, columns, fingerprint
from mtl_d2.data.listing import Listing
from mtl_d2.data.missing import leave_out_missing
from mtl_d2.data.text_paths import with_text_paths

Records = list[dict[str, Any]]


@dataclass
class _FirstReading:
    """What is remembered of a data set.

    Attributes:
        reader: as it is registered; a name that is registered anew begins anew.
        fingerprint: of what it gave first.
        stored: of what it gave another process first, which stands for that of this one until it reads.
    """

    reader: Callable[[], Any]
    fingerprint: Fingerprint | None = None
    stored: Fingerprint | None = None


# What makes it the rule of detectron2's catalog, "the same results if called multiple times", for the whole process.
_FIRST: dict[str, _FirstReading] = {}


@collection_paused()
def read_records(name: str, listing: Listing | None = None) -> Records:
    """The records of the data set ``name``, in its reader's order, paths as text.

    With ``missing_images="leave_out"`` in the metadata, records without their image are left out.

    Args:
        name: of the data set.
        listing: in which folders are looked at for that; one of its own if none.

    Raises:
        DataError: the records are not as detectron2 has them, or not those that were read at first.
    """
    records = leave_out_missing(name, with_text_paths(list(DatasetCatalog.get(name))), listing)
    _require_lists(records)
    first, parts = _first_reading(name), columns(records)
    now = fingerprint(parts, _classes(name))
    if first.fingerprint is None:
        first.fingerprint = now
    difference = first.fingerprint.difference(now, parts[FILE])
    if first.stored is not None and (first.stored.basis, first.stored.labels) != (now.basis, now.labels):
        difference = "they were others when they were checked"
    if difference:
        raise DataError(
            f"{name}: its reader numbers or orders its records anew at each call ({difference}): have it sort the "
            "files and take `image_id` from their names; if its files have changed meanwhile, start again"
        )
    return records


def digest(name: str, labels: Iterable[str] = ()) -> str:
    """Of all that the data set ``name`` gave when it was read first, which is now if it was not before.

    The same for the same records, in any process, and wherever their folder lies.

    Args:
        name: of the data set.
        labels: the keys of records whose files count beside images, ids, objects and label maps. A label that nobody
            reads may come or go.
    """
    return fingerprint_of(name).digest(labels)


def fingerprint_of(name: str) -> Fingerprint:
    """Of what the data set ``name`` gave when it was read first, which is now if it was not before."""
    first = _first_reading(name)
    if first.fingerprint is None and first.stored is None:
        read_records(name)
    known = first.fingerprint or first.stored
    assert known is not None  # or it raised
    return known


def remember(name: str, basis: str, labels: dict[str, str]) -> None:
    """What another process read of the data set ``name``; see ``Fingerprint``."""
    _first_reading(name).stored = Fingerprint({}, basis, labels)


def digests(names: Iterable[str], labels: Collection[str] = ()) -> dict[str, str]:
    """By data set: what a checkpoint keeps, for ``changed_records`` in the run that goes on; see ``digest``."""
    return {name: digest(name, labels) for name in dict.fromkeys(names)}


def changed_records(stored: Mapping[str, str], labels: Collection[str] = ()) -> list[str]:
    """A line for each data set that is not what it was.

    Args:
        stored: ``digests`` of the run that stopped.
        labels: as they were given there.
    """
    return [
        f"{name}: its records, or their order, are not those of the run that stopped: restore its files, its reader "
        "and MTL.DATA.CLASSES"
        for name, before in stored.items()
        if digest(name, labels) != before
    ]


def require_same_records(names: Iterable[str], labels: Collection[str] = ()) -> None:
    """Whether all processes read the same; to be called by all of them. See ``digest``.

    Raises:
        DataError: one line for each data set of which they do not.
    """
    if comm.get_world_size() == 1:
        return
    found = comm.all_gather(digests(names, labels))
    lines = []
    for name, mine in found[0].items():
        others = [rank for rank, theirs in enumerate(found) if theirs[name] != mine]
        if others:
            lines.append(
                f"{name}: processes {others} read other records than process 0, or in another order: have its reader "
                "sort the files, and give all machines the same data"
            )
    if lines:
        raise DataError("\n".join(lines))


def _require_lists(records: Records) -> None:
    other = [r for r in records if not isinstance(r.get("annotations"), list | tuple | None)]
    if other:
        raise DataError(
            f"{len(other)} of {len(records)} records have `annotations` that are no list, the first is of "
            f"{other[0][FILE]}, {reprlib.repr(other[0]['annotations'])}: correct its reader"
        )


def _first_reading(name: str) -> _FirstReading:
    reader = DatasetCatalog[name]
    if name not in _FIRST or _FIRST[name].reader is not reader:
        _FIRST[name] = _FirstReading(reader)
    return _FIRST[name]


def _classes(name: str) -> list[str]:
    metadata = MetadataCatalog.get(name)
    lists = (getattr(metadata, key, None) or () for key in ("thing_classes", "stuff_classes"))
    return list(map(str, chain.from_iterable(lists)))
