"""What a check of data saw besides the records, so that a later one can tell whether it would see the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mtl_d2.data.addresses import file_of
from mtl_d2.data.file_digests import digest, entries
from mtl_d2.data.listing import Listing
from mtl_d2.data.record_file import pack

FEW = 16  # files of a folder that were looked into, up to which each counts and not the whole folder

Seen = dict[str, dict[str, Any]]  # digests of names in folders, of files in folders, and sizes and times of files


def what_was_seen(listing: Listing, opened: Iterable[str]) -> Seen:
    """Names in the folders that were listed; sizes and times of the files that were opened, or of all beside them.

    Args:
        listing: of the check.
        opened: files of images and labels.
    """
    files = sorted(set(map(file_of, opened)))
    number = Counter(map(os.path.dirname, files))
    return {
        "names": {folder: digest([pack(content)]) for folder, content in listing.contents().items()},
        "entries": {folder: entries(folder) for folder, n in number.items() if n > FEW},
        "files": {file: _stamp(file) for file in files if number[os.path.dirname(file)] <= FEW},
    }


def is_as_seen(seen: Seen) -> bool:
    """Whether all of it is as it was."""
    try:
        if any(_stamp(file) != stamp for file, stamp in seen["files"].items()):
            return False
        if any(entries(folder) != before for folder, before in seen["entries"].items()):
            return False
    except OSError:
        return False
    listing = Listing()
    for folder in seen["names"]:
        listing.has(os.path.join(folder, ""))
    return what_was_seen(listing, ())["names"] == seen["names"]


def _stamp(file: str) -> list[int]:
    stat = os.stat(file)
    return [stat.st_size, stat.st_mtime_ns]
