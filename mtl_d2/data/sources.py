"""What the records of a data set come from, as a digest that changes when they may.

Its files of labels are what ``label_files`` in its metadata names, files and folders; of detectron2's own readers of
COCO and LVIS it is their ``json_file``. They count by their content, folders by names, sizes and times of all files
below them. Of a data set that does not say it, or whose reader may depend on something else, the records themselves
count, which takes reading them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.data.class_mapping import MappedReader
from mtl_d2.data.file_digests import digest, digest_of_file, folders, tree
from mtl_d2.data.reader_identity import identity
from mtl_d2.data.reading import read_records
from mtl_d2.data.record_file import pack

KEY = "label_files"  # of the metadata
_ONE_FILE = {"detectron2.data.datasets.coco", "detectron2.data.datasets.lvis"}  # readers of `json_file` and no more


def label_files(name: str) -> tuple[str, ...] | None:
    """The files and folders that a data set's records come from; None where it does not say, or none is there."""
    reader, metadata = _own_reader(name)
    if KEY in metadata.as_dict():
        given = metadata.get(KEY)
        paths = tuple(map(os.fspath, [given] if isinstance(given, str | os.PathLike) else given))
        return paths if any(map(os.path.exists, paths)) else None
    path = metadata.get("json_file")
    if getattr(reader, "__module__", "") in _ONE_FILE and isinstance(path, str | os.PathLike) and os.path.isfile(path):
        return (os.fspath(path),)
    return None


def source(name: str) -> str:
    """A digest of all that the records of the data set ``name`` come from.

    Raises:
        TypeError: they hold what cannot be written; see ``record_file.pack``.
    """
    files = label_files(name)
    reader = identity(_own_reader(name)[0]) if files is not None else None
    if files is None or reader is None:
        return digest(pack(record) for record in read_records(name))
    return digest([pack(reader), *(pack([path, _content(path)]) for path in files)])


def size_of(name: str) -> int:
    """Bytes of its label files and of what its folders of labels hold, as far as they are known."""
    return sum(map(_size, label_files(name) or ()))


def _own_reader(name: str) -> tuple[Callable[..., Any], Metadata]:
    """The reader and the metadata of a data set's own classes."""
    reader = DatasetCatalog[name]
    if isinstance(reader, MappedReader):
        return reader.read, reader.metadata
    return reader, MetadataCatalog.get(name)


def _size(path: str) -> int:
    if os.path.isdir(path):
        return sum(map(_size_of_folder, folders(path)))
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _size_of_folder(path: str) -> int:
    with os.scandir(path) as listing:
        return sum(entry.stat().st_size for entry in listing if entry.is_file())


def _content(path: str) -> str | list[tuple[str, str]]:
    if os.path.isfile(path):
        return digest_of_file(path)
    return tree(path) if os.path.isdir(path) else ""
