"""Whether two readings of a data set gave the same records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

FILE, ID, LABEL_MAP, OBJECTS = "file_name", "image_id", "sem_seg_file_name", "number of annotations"
BASIS = (FILE, ID, LABEL_MAP, OBJECTS)
Columns = dict[str, Sequence[Any]]  # a value for each record


def columns(records: Sequence[dict[str, Any]]) -> Columns:
    """What records are told apart by, part by part; -1 objects where a record is not labelled for them.

    Raises:
        KeyError: a record has no ``file_name``.
    """
    rows = [
        (r[FILE], r.get(ID), r.get(LABEL_MAP), len(r["annotations"] or ()) if "annotations" in r else -1)
        for r in records
    ]
    parts: Columns = dict(zip(BASIS, zip(*rows, strict=True), strict=True)) if rows else {FILE: ()}
    return parts | {key: [r.get(key) for r in records] for key in file_keys(records) if key != LABEL_MAP}


def file_keys(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of records that name files of labels: ``<label>_file_name``, with or without ``/<name>`` behind."""
    keys = set().union(*records)
    return sorted(key for key in keys if isinstance(key, str) and key.partition("/")[0].endswith(f"_{FILE}"))


@dataclass(frozen=True)
class Fingerprint:
    """What one reading gave.

    Attributes:
        hashes: (N,) int64 each: a number for that part of every record, which means something in this process only.
        basis: a digest of the first four parts and of the names of the classes, for any process and wherever the files
            lie.
        labels: the like of each further part, the files of a label.
    """

    hashes: dict[str, npt.NDArray[np.int64]]
    basis: str
    labels: dict[str, str]

    def digest(self, keys: Iterable[str] = ()) -> str:
        """Of the records, of whose further labels those under ``keys`` count."""
        counted = [self.labels[key] for key in sorted(set(keys)) if key in self.labels]
        return sha256("".join([self.basis, *counted]).encode()).hexdigest() if counted else self.basis

    def difference(self, later: Fingerprint, files: Sequence[str]) -> str | None:
        """How a later reading differs from this one, which was the first; None where it does not.

        Args:
            later: its fingerprint.
            files: of the records that it gave.
        """
        before, now = len(self.hashes[FILE]), len(files)
        if before != now:
            return f"{before} records at first, {now} now"
        for key, first in self.hashes.items():
            other = np.flatnonzero(first != later.hashes[key])
            if len(other):
                moved = key == FILE and np.array_equal(np.sort(first), np.sort(later.hashes[key]))
                place = f"first in record {other[0]}, now {files[other[0]]}"
                return f"{'the records are in another order' if moved else f'another {key}'}, {place}"
        return None


def fingerprint(of: Columns, classes: Iterable[str] = ()) -> Fingerprint:
    """The fingerprint of records, in their order.

    Args:
        of: what ``columns`` gives of them.
        classes: the names that category ids and values of label maps stand for.
    """
    basis = sha256()
    for values in (*(of[key] for key in of if key in BASIS), list(classes)):
        basis.update(_bytes(values))
    labels = {key: sha256(_bytes(values)).hexdigest() for key, values in of.items() if key not in BASIS}
    return Fingerprint({key: _hashes(values) for key, values in of.items()}, basis.hexdigest(), labels)


def _hashes(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    try:
        return np.fromiter(map(hash, values), np.int64, len(values))
    except TypeError:  # a list, say, as an id: whoever needs ids refuses it
        return _hashes([repr(value) for value in values])


def _bytes(values: Sequence[Any]) -> bytes:
    """The values, for any process; of text without what all of it begins with, which is the folder of the data."""
    kinds = set(map(type, values))
    if kinds <= {int}:  # whose hashes are the same everywhere
        return _hashes(values).tobytes()
    texts = _relative(values) if kinds == {str} else map(str, values)
    return "\0".join([*texts, ""]).encode("utf-8", "surrogateescape")


def _relative(texts: Sequence[str]) -> Iterable[str]:
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    start = next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))
    return (text[start:] for text in texts)
