"""Digests of files by their content and of folders by their listing, and values as they are compared."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from mtl_d2.data.record_file import pack

_BLOCK = 1 << 18  # bytes, which stay in the processor's cache
Path = str | os.PathLike[str]


def digest(parts: Iterable[bytes]) -> str:
    """Of ``parts`` one after the other, each with its length."""
    total = sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def digest_of_file(path: Path) -> str:
    """Of what it holds. A process looks again only once its size or times have changed."""
    stat = os.stat(path)
    return _digest_of_file(os.fspath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=1024)
def _digest_of_file(path: str, *version: int) -> str:
    total, block = sha256(), bytearray(_BLOCK)
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            total.update(memoryview(block)[:size])
    return total.hexdigest()


def entries(folder: Path) -> str:
    """A digest of names, sizes and times of what is in a folder."""
    found = []
    with os.scandir(folder) as listing:
        for entry in listing:
            stat = entry.stat() if entry.is_file() else None
            found.append((entry.name, stat.st_size if stat else -1, stat.st_mtime_ns if stat else -1))
    return digest(map(pack, sorted(found)))


def tree(folder: Path) -> list[tuple[str, str]]:
    """Of a folder and all below it, each with the digest of its ``entries``."""
    return sorted((path, entries(path)) for path in folders(folder))


def folders(folder: Path) -> Iterator[str]:
    """A folder and all below it, those that links lead to as well, each once."""
    seen = {os.path.realpath(folder)}
    for path, below, _ in os.walk(folder, followlinks=True):
        yield path
        real = {name: os.path.realpath(os.path.join(path, name)) for name in sorted(below)}
        below[:] = [name for name in real if real[name] not in seen]
        seen.update(real.values())


def plain(value: Any) -> Any:
    """``value`` with paths as text."""
    if isinstance(value, dict):
        return {key: plain(of_key) for key, of_key in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    return os.fspath(value) if isinstance(value, os.PathLike) else value
