"""Data sets in detectron2's catalogs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog


def register_anew(name: str, read: Callable[[], list[dict[str, Any]]], **metadata: Any) -> None:
    """Registers a data set, in the place of one of that name, whose metadata may hold what an evaluator made of it.

    Args:
        name: of the data set.
        read: gives its records.
        **metadata: of the data set.
    """
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog:
            catalog.remove(name)
    DatasetCatalog.register(name, read)
    MetadataCatalog.get(name).set(**metadata)
