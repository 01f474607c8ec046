"""The records of a data set, as every part of a run gets them."""

from __future__ import annotations

from typing import Any

from detectron2.data import DatasetCatalog

Records = list[dict[str, Any]]


def read_records(name: str) -> Records:
    """The records of the data set ``name``, in its reader's order."""
    return list(DatasetCatalog.get(name))
