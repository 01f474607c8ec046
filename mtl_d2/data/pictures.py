"""Pictures that several data sets, or several releases of one, have as files of different names.

The images ``2007_NNNNNN`` of PASCAL VOC 2012 are the images ``NNNNNN`` of 2007: what is trained on in one release may
be the test set of the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

TEST_IMAGES = "test_images"  # of the metadata of a training set
TRAINED_ON = "trained_on"  # it has images of test sets, as its protocol is published

# What a file's path ends with, and the picture that it shows.
RULES = (
    (re.compile(r"(?:^|/)VOC(2\d{3})/JPEGImages/(\d{6})\.jpg$"), r"VOC \1_\2"),
    (re.compile(r"(?:^|/)(2\d{3}_\d{6})\.jpg$"), r"VOC \1"),  # SBD's images too
)

# Images that parts of one data set have in folders of their own, under the same name.
COPIES = ((re.compile(r"(?:^|/)bdd100k/images/(?:10k|100k)/(?:train|val|test)/([^/]+)$"), r"BDD100K \1"),)


def picture(file_name: str) -> str | None:
    """What an image file shows, by one name for all releases; None where only its path tells."""
    return _named(file_name, RULES)


def copied(file_name: str) -> str | None:
    """The image that a file is, by one name for all parts of its data set; None where there is one such file."""
    return _named(file_name, COPIES)


def _named(file_name: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, name in rules:
        match = pattern.search(file_name)
        if match:
            return match.expand(name)
    return None


def pictures(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Files of the records by what they show, as far as that is known."""
    shown = ((picture(record["file_name"]), record["file_name"]) for record in records if "image" not in record)
    return {name: file for name, file in shown if name is not None}


def trained_on(seen: Mapping[str, str], test: str, tested: Mapping[str, str]) -> Iterator[str]:
    """What is said of a training set that has pictures of a test set.

    Args:
        seen: the ``pictures`` of the training set.
        test: the name of the test set.
        tested: its ``pictures``.
    """
    shared = sorted(seen.keys() & tested.keys())
    if shared:
        yield (
            f"{len(shared)} of its images are in the test set {test}, the first is {seen[shared[0]]}, which is "
            f"{tested[shared[0]]}: take a training set without them, or set `{TEST_IMAGES}={TRAINED_ON!r}` in its "
            "metadata to measure on them as they are"
        )
