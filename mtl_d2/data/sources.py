"""What the records of a data set come from, as a digest that changes when they may.

Its files of labels are what ``label_files`` in its metadata names, files and folders; of detectron2's own readers of
COCO and LVIS it is their ``json_file``. They count by their content, folders by names, sizes and times of their files.
Of a data set that does not say it, the records themselves count, which takes reading them.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from mtl_d2.data.class_mapping import MappedReader
from mtl_d2.data.reading import read_records
from mtl_d2.data.record_file import pack

KEY = "label_files"  # of the metadata
_ONE_FILE = {"detectron2.data.datasets.coco", "detectron2.data.datasets.lvis"}  # readers of `json_file` and no more
_BLOCK = 1 << 18  # bytes, which stay in the processor's cache


def label_files(name: str) -> tuple[str, ...] | None:
    """The files and folders that a data set's records come from; None where it does not say."""
    reader, metadata = _own_reader(name)
    if KEY in metadata.as_dict():
        return tuple(map(os.fspath, metadata.get(KEY)))
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
    identity = _identity(_own_reader(name)[0]) if files is not None else None
    if files is None or identity is None:
        return digest(pack(record) for record in read_records(name))
    return digest([pack(identity), *(pack([path, _content(path)]) for path in files)])


def size_of(name: str) -> int:
    """Bytes of its label files and of what its folders of labels hold, as far as they are known."""
    return sum(map(_size, label_files(name) or ()))


def digest(parts: Iterable[bytes]) -> str:
    """Of ``parts`` one after the other, each with its length."""
    total = sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """Of what it holds. A process looks again only once its size or time have changed."""
    stat = os.stat(path)
    return _digest_of_file(os.fspath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _digest_of_file(path: str, *version: int) -> str:
    total, block = sha256(), bytearray(_BLOCK)
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            total.update(memoryview(block)[:size])
    return total.hexdigest()


def entries(folder: str | os.PathLike[str]) -> str:
    """A digest of names, sizes and times of what is in a folder."""
    found = []
    with os.scandir(folder) as listing:
        for entry in listing:
            stat = entry.stat() if entry.is_file() else None
            found.append((entry.name, stat.st_size if stat else -1, stat.st_mtime_ns if stat else -1))
    return digest(map(pack, sorted(found)))


def plain(value: Any) -> Any:
    """``value`` with paths as text."""
    if isinstance(value, dict):
        return {key: plain(of_key) for key, of_key in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _own_reader(name: str) -> tuple[Callable[..., Any], Metadata]:
    """The reader and the metadata of a data set's own classes."""
    reader = DatasetCatalog[name]
    if isinstance(reader, MappedReader):
        return reader.read, reader.metadata
    return reader, MetadataCatalog.get(name)


def _size(path: str) -> int:
    if os.path.isdir(path):
        with os.scandir(path) as listing:
            return sum(entry.stat().st_size for entry in listing)
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _content(path: str) -> str:
    if os.path.isfile(path):
        return digest_of_file(path)
    return entries(path) if os.path.isdir(path) else ""


def _identity(reader: Callable[..., Any]) -> list[Any] | None:
    """What tells a reader from another one: its code and what it is called with; None where that is not plain."""
    given: list[Any] = []
    while not hasattr(reader, "__code__"):
        if isinstance(reader, functools.partial):
            given += [reader.args, reader.keywords]
            reader = reader.func
        elif hasattr(reader, "__wrapped__"):
            reader = reader.__wrapped__
        else:
            return None
    code = reader.__code__
    given += [cell.cell_contents for cell in reader.__closure__ or ()]
    given = plain([*given, reader.__defaults__, reader.__kwdefaults__])
    try:
        pack(given)
    except TypeError:
        return None
    return [reader.__module__, reader.__qualname__, _code(reader.__module__, code.co_filename), given]


def _code(module: str, path: str) -> str:
    """A digest of a reader's own file; what belongs to packages has a version."""
    known = getattr(sys.modules.get(module.partition(".")[0]), "__version__", None)
    return str(known) if known else digest_of_file(path) if Path(path).is_file() else ""
