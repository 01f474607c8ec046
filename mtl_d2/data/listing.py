"""Which files are there, by one listing of each folder: data sets hold up to 100,000 files in one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mtl_d2.data.addresses import file_of

Places = dict[str, set[str]]  # names of files by folder


@dataclass
class _Folder:
    """What a folder holds: the names of its files, and what those that are links point to."""

    files: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)


class Paths:
    """Paths of files, by folder: what is asked of 100,000 files is asked of their folders.

    Addresses of arrays in one file stay apart; the file is there for all of them.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        """Args: ``paths``, in an order that is kept."""
        self.paths = list(paths)
        self.by_folder: dict[str, set[str]] = {}
        for path in self.paths:
            folder, slash, file = path.rpartition(os.sep)
            try:
                self.by_folder[folder or slash].add(file)
            except KeyError:
                self.by_folder[folder or slash] = {file}


def image_paths(records: Iterable[dict[str, Any]]) -> Paths:
    """Of the images that are files; one in memory has a name alone."""
    return Paths(r["file_name"] for r in records if "image" not in r)


class Listing:
    """Folders that were looked at, each once."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        self._real: dict[str, str] = {}

    def has(self, path: str) -> bool:
        """Whether ``path`` is in its folder."""
        folder, slash, file = path.rpartition(os.sep)
        return file_of(file) in self._look(folder or slash).files

    def absent(self, paths: Paths) -> list[str]:
        """The paths that are no files, in their order."""
        there = all(set(map(file_of, files)) <= self._look(folder).files for folder, files in paths.by_folder.items())
        return [] if there else [path for path in paths.paths if not self.has(path)]

    def places(self, paths: Paths) -> Places:
        """Where files really are, the same for every path to them: links are followed, those of files once."""
        places: Places = {}
        for folder, files in paths.by_folder.items():
            links = self._look(folder).links
            linked = {file for file in files if file_of(file) in links} if links else set()
            places.setdefault(self._resolve(folder), set()).update(files - linked if linked else files)
            for file in linked:
                link = file_of(file)
                target = os.path.join(folder, links[link]) + file[len(link) :]
                places.setdefault(self._resolve(os.path.dirname(target)), set()).add(os.path.basename(target))
        return places

    def contents(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """Of each folder that was looked at: the names in it, sorted, and what those that are links point to."""
        return {path: (sorted(of.files), dict(sorted(of.links.items()))) for path, of in self._folders.items()}

    def _resolve(self, folder: str) -> str:
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]

    def _look(self, folder: str) -> _Folder:
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = _Folder()
            with contextlib.suppress(OSError), os.scandir(folder or os.curdir) as entries:  # or none of its files is
                for entry in entries:
                    known.files.add(entry.name)
                    if entry.is_symlink():
                        known.links[entry.name] = os.readlink(entry.path)
        return known


def number_in_both(first: Places, second: Places) -> int:
    """How many files are in both."""
    return sum(len(files & second[folder]) for folder, files in first.items() if folder in second)
