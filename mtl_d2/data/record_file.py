"""Records in one file, which processes share by mapping it into their memory.

The form is msgpack's, which says of every value what it is and runs nothing: a header, the records, and where each of
them ends. A checksum stands in front. What Python has besides msgpack, tuples and detectron2's ``BoxMode``, comes
back as it was.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import msgpack
import numpy as np
from detectron2.structures import BoxMode

from mtl_d2.files import replacing

MAGIC = b"mtl_d2 records 1"
_TUPLE, _BOX_MODE = 1, 2  # msgpack's types of our own
_NUMBER = np.dtype("<i8")
_START = (
    len(MAGIC) + sha256().digest_size + 2 * _NUMBER.itemsize
)  # magic, checksum of what follows, lengths of header and of the rest
_BLOCK = 1 << 18  # bytes that are looked at together

Record = dict[str, Any]


class DamagedFileError(Exception):
    """A file is none of records, or not as it was written."""


def pack(value: Any) -> bytes:
    """``value`` as bytes, the same for equal values of equal types.

    Raises:
        TypeError: it holds what is neither msgpack's nor a tuple or a ``BoxMode``: an array, say.
    """
    try:
        return msgpack.packb(value, default=_own_type, strict_types=True, unicode_errors="surrogateescape")
    except (OverflowError, ValueError) as error:  # a number of more than 64 bits; nested too deep
        raise TypeError(str(error)) from error


def unpack(content: bytes | memoryview) -> Any:
    """What was packed.

    Raises:
        DamagedFileError: the bytes are none that were packed.
    """
    try:
        return msgpack.unpackb(content, ext_hook=_value, strict_map_key=False, unicode_errors="surrogateescape")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise DamagedFileError(str(error)) from error


def _own_type(value: Any) -> msgpack.ExtType:
    if type(value) is tuple:
        return msgpack.ExtType(_TUPLE, pack(list(value)))
    if type(value) is BoxMode:
        return msgpack.ExtType(_BOX_MODE, bytes([value]))
    raise TypeError(f"{type(value).__name__} cannot be written")


def _value(code: int, content: bytes) -> Any:
    return BoxMode(content[0]) if code == _BOX_MODE else tuple(unpack(content))


def write_records(path: Path, header: Any, sets: Mapping[str, Sequence[Record]]) -> None:
    """Writes ``sets`` of records, and what is to be known of them, in place of the file that there may be.

    Raises:
        TypeError: a value cannot be written; see ``pack``.
        WriteError: the disk does not take it.
    """
    digest, size = sha256(), 0
    top = pack([header, {name: len(records) for name, records in sets.items()}])
    ends = [0]
    with replacing(path) as file:
        file.seek(_START)
        file.write(top)
        digest.update(top)
        for record in (record for records in sets.values() for record in records):
            content = pack(record)
            size += len(content)
            ends.append(size)
            file.write(content)
            digest.update(content)
        places = np.array(ends, _NUMBER).tobytes()
        lengths = np.array([len(top), size], _NUMBER).tobytes()
        file.write(places)
        digest.update(places + lengths)
        file.seek(0)
        file.write(MAGIC + digest.digest() + lengths)


class StoredRecords(Sequence[Record]):
    """Records of a file, each made anew when it is asked for; nothing but the mapped file is held in memory.

    Sent to another process it is mapped there.
    """

    def __init__(self, path: Path, first: int, count: int, start: bytes) -> None:
        """Args: ``path`` of the file; ``first`` of the ``count`` records in it; its ``start``, which has a checksum.

        Raises:
            DamagedFileError: it is another file by now.
        """
        self._path, self._first, self._count, self._start = path, first, count, start
        with open(path, "rb") as file:
            self._bytes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if self._bytes[:_START] != start:
            raise DamagedFileError(f"{path} was replaced while this run started: start it again")
        lengths = _lengths(start, len(self._bytes))
        self._records = self._bytes[_START + lengths[0] :]
        self._ends = np.frombuffer(self._records, _NUMBER, offset=lengths[1])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        place = range(self._first, self._first + self._count)[index]
        return unpack(self._records[self._ends[place] : self._ends[place + 1]])

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredRecords, (self._path, self._first, self._count, self._start)


def read_header(path: Path) -> Any:
    """What is to be known of the records in a file, after a look at its beginning alone.

    Raises:
        DamagedFileError: it is no such file.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        lengths = _lengths(file.read(_START), os.stat(path).st_size)
        return _top(file.read(lengths[0]))[0]


def read_sets(path: Path) -> dict[str, StoredRecords]:
    """The sets of records in a file, after a look at all of it.

    Raises:
        DamagedFileError: it is no such file, or not as it was written.
        OSError: it cannot be read.
    """
    stat = os.stat(path)
    start, counts = _verified(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    firsts = accumulate(counts.values(), initial=0)
    return {name: StoredRecords(path, first, n, start) for (name, n), first in zip(counts.items(), firsts)}  # noqa: B905


@lru_cache(maxsize=64)
def _verified(path: Path, *version: int) -> tuple[bytes, dict[str, int]]:
    """The start of a file and the number of records in each set.

    A process looks through each version of a file once.
    """
    digest, block = sha256(), bytearray(_BLOCK)
    with open(path, "rb") as file:
        start = file.read(_START)
        lengths = _lengths(start, os.stat(path).st_size)
        top = file.read(lengths[0])
        digest.update(top)
        while size := file.readinto(block):
            digest.update(memoryview(block)[:size])
    digest.update(start[-2 * _NUMBER.itemsize :])
    if digest.digest() != start[len(MAGIC) : len(MAGIC) + sha256().digest_size]:
        raise DamagedFileError("it is not as it was written")
    return start, _top(top)[1]


def _lengths(start: bytes, size: int) -> tuple[int, int]:
    """Of the header and of all records, in a file of ``size`` bytes that begins with ``start``."""
    if len(start) < _START or not start.startswith(MAGIC):
        raise DamagedFileError("it is no file of records")
    top, records = np.frombuffer(start, _NUMBER, offset=_START - 2 * _NUMBER.itemsize).tolist()
    if min(top, records) < 0 or _START + top + records + _NUMBER.itemsize > size:
        raise DamagedFileError("it is cut off, or not as it was written")
    return top, records


def _top(content: bytes) -> Any:
    top = unpack(content)
    if not (isinstance(top, list) and len(top) == 2 and isinstance(top[1], dict)):
        raise DamagedFileError("it has no header")
    return top
