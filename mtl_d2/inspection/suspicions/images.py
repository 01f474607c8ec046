"""Images: the same file under several names, and pictures that show nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mtl_d2.data.addresses import names_array

CHUNK = 1 << 20  # bytes that are read at once
BLANK = 1.5  # standard deviation of the levels of a picture of one colour, of 255
SHARE_BLANK = 0.05  # of pictures
ASPECT = 1.25  # times as wide, for its height, as the image was stored

Records = Sequence[Mapping[str, Any]]


def copies(train: Mapping[str, Records], test: Mapping[str, Records], most: int) -> Iterator[tuple[str, str]]:
    """Test images that a training set has, byte for byte, under another name; by data set and sentence.

    Only files whose size a file of the other side has are read.

    Args:
        train: records by training set.
        test: records by test set.
        most: files that are read at most.
    """
    sizes: dict[int, list[str]] = {}
    for records in train.values():
        for size, file in _sizes(records):
            sizes.setdefault(size, []).append(file)
    digests: dict[str, bytes] = {}
    for name, records in test.items():
        same = []
        for size, file in _sizes(records):
            others = [other for other in sizes.get(size, ()) if os.path.realpath(other) != os.path.realpath(file)]
            if len(digests) < most and others:
                equal = [other for other in others if _digest(other, digests) == _digest(file, digests)]
                same += [(file, equal[0])] if equal else []
        if same:
            line = (
                f"{len(same)} of its images are trained on as well, under other names, the first is {same[0][0]}, the "
                f"same as {same[0][1]}: what is measured on them says little of others"
            )
            yield name, line


def twins(records: Records, most: int) -> Iterator[str]:
    """A sentence where a data set has the same file under several names."""
    sizes: dict[int, list[str]] = {}
    for size, file in _sizes(records):
        sizes.setdefault(size, []).append(file)
    digests: dict[str, bytes] = {}
    seen: dict[bytes, str] = {}
    same = []
    for files in sizes.values():
        if len(files) < 2 or len(digests) >= most:
            continue
        for file in files:
            digest = _digest(file, digests)
            if digest in seen:
                same.append((seen[digest], file))
            seen.setdefault(digest, file)
    if same:
        yield f"{len(same)} of its images are copies of others, the first is {same[0][1]}, the same as {same[0][0]}"


def _sizes(records: Records) -> Iterator[tuple[int, str]]:
    """Of files that are there; each once."""
    for file in dict.fromkeys(r["file_name"] for r in records if "image" not in r):
        if not names_array(file) and os.path.isfile(file):
            yield os.path.getsize(file), file


def _digest(file: str, known: dict[str, bytes]) -> bytes:
    if file not in known:
        content = hashlib.blake2b(digest_size=16)
        with open(file, "rb") as opened:
            while chunk := opened.read(CHUNK):
                content.update(chunk)
        known[file] = content.digest()
    return known[file]


def odd_pictures(contrasts: Sequence[float], files: Sequence[str]) -> Iterator[str]:
    """A sentence for pictures of one colour."""
    blank = [file for file, contrast in zip(files, contrasts, strict=True) if contrast < BLANK]
    if len(blank) > SHARE_BLANK * len(files):
        yield f"{len(blank)} of {len(files)} images looked at are of one colour, the first is {blank[0]}"


def stretched(sizes: Iterable[tuple[tuple[int, int], tuple[int, int], str]]) -> Iterator[str]:
    """A note where images are resized to another aspect ratio.

    Args:
        sizes: height and width as stored, and as trained on, and the file.
    """
    seen = list(sizes)
    odd = []
    for (height, width), (now_height, now_width), file in seen:
        times = (now_width / now_height) / (width / height)
        if max(times, 1 / times) > ASPECT:
            odd.append((file, times))
    if len(odd) > 0.5 * len(seen):
        yield (
            f"{len(odd)} of {len(seen)} samples have another aspect ratio than their images, such as {odd[0][0]}: "
            f"{odd[0][1]:.2g} times as wide for its height, by a crop or a resizing that stretches"
        )
