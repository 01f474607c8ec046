"""Addresses of arrays in files: what a record may name instead of an image.

``FILE.npy`` is numpy's; ``FILE.mat`` the only array of numbers in a MATLAB file; ``FILE.mat::NAME`` one of several,
where dots lead into structs (``GTcls.Segmentation``); ``FILE.mat::NAME[INDEX]`` one of N along the last axis as MATLAB
shows it, or one cell, counted from 0. ``FILE.png::shrunk[N]`` is an image or a map N times smaller than its file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from mtl_d2.data.errors import DataError

_ARRAY = re.compile(r"\.(?:npy|mat)(?:::[^/]*)?$", re.IGNORECASE)
_SHRUNK = re.compile(r"(?:(?<=\.(?:png|jpg))|(?<=\.jpeg))::shrunk\[(\d+)\]$", re.IGNORECASE)
_INSIDE = re.compile(r"(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)(?:\[(?P<index>\d+)\])?")
SEPARATOR = "::"


@dataclass(frozen=True)
class Address:
    """Of an array.

    Attributes:
        file: path.
        name: of the array in it; empty = the only one.
        index: of the sample in the array; None = all of it.
    """

    file: str
    name: str = ""
    index: int | None = None


def names_array(path: str) -> bool:
    """Whether ``path`` is an array's and not an image's."""
    return _ARRAY.search(path) is not None


def file_of(path: str) -> str:
    """The file that a path or an address is of."""
    if SEPARATOR not in path:
        return path
    inside = _ARRAY.search(path)
    return path[: inside.start() + len(".mat")] if inside else shrinking(path)[0]


def shrinking(path: str) -> tuple[str, int]:
    """The image file that ``path`` names, and how many times smaller it is to be."""
    found = _SHRUNK.search(path) if SEPARATOR in path else None
    return (path[: found.start()], int(found[1])) if found else (path, 1)


def parse_address(path: str) -> Address:
    """What an address says.

    Raises:
        DataError: it is none.
    """
    file = file_of(path)
    if file == path:
        return Address(path)
    if file[-4:].lower() == ".npy":
        raise DataError(f"{path}: an .npy holds one array, which has no name: leave out what follows the file")
    inside = _INSIDE.fullmatch(path[len(file) + len(SEPARATOR) :])
    if inside is None:
        raise DataError(
            f"{path}: what follows '::' must be the name of an array, such as NAME, STRUCT.FIELD or NAME[0]: correct "
            "its record"
        )
    return Address(file, inside["name"], None if inside["index"] is None else int(inside["index"]))


def shown_name(path: str) -> str:
    """The end of a path or an address, for captions."""
    file = file_of(path)
    return os.path.basename(file) + path[len(file) :]
