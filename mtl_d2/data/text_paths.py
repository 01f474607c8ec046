"""Records whose files are named by text."""

from __future__ import annotations

import os
import reprlib
from operator import itemgetter
from typing import Any

from mtl_d2.data.errors import DataError
from mtl_d2.data.fingerprint import FILE, file_keys

Records = list[dict[str, Any]]


def with_text_paths(records: Records) -> Records:
    """The records; copies, where they name files by ``pathlib``'s paths.

    Raises:
        DataError: a record is no dict, or names no image, or has the key of a file of labels and names none.
    """
    try:
        keys = file_keys(records)
        named = set(map(type, map(itemgetter(FILE), records))) | {type(r[k]) for k in keys for r in records if k in r}
        if named <= {str}:
            return records
    except (KeyError, TypeError):
        pass  # found below
    _require(records, FILE, [i for i, r in enumerate(records) if not isinstance(r, dict) or not _is_path(r.get(FILE))])
    for key in file_keys(records):
        _require(records, key, [i for i, r in enumerate(records) if key in r and not _is_path(r[key])])
    return [
        {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in record.items()}
        for record in records
    ]


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _require(records: Records, key: str, indices: list[int]) -> None:
    if indices:
        advice = "correct its reader" if key == FILE else "leave the key out where there is no label map"
        raise DataError(
            f"{len(indices)} of {len(records)} records have no path as `{key}`, the first is record {indices[0]}, "
            f"{reprlib.repr(records[indices[0]])}: {advice}"
        )
