"""Records of images whose labels are maps in folders beside them, one file an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtl_d2.data.addresses import file_of
from mtl_d2.data.errors import DataError
from mtl_d2.data.listing import Listing, Paths

Records = list[dict[str, Any]]
IMAGE, LABEL, DEPTH, NORMALS = "file_name", "sem_seg_file_name", "depth_file_name", "normals_file_name"


def dense_records(
    names: Sequence[str], places: Mapping[str, Callable[[str], str]], said: Mapping[str, Any] | None = None
) -> Records:
    """Records of images, whose size the images say.

    Args:
        names: of the images, in their order.
        places: by key of a record, from an image's name to the path or address of that file; ``IMAGE`` among them.
        said: further keys, the same in every record.

    Returns:
        detectron2's dataset dicts, with the names as ``image_id``.

    Raises:
        DataError: a file is missing, one line for each key.
    """
    listing, paths = Listing(), {key: [place(name) for name in names] for key, place in places.items()}
    missing = [line for of in paths.values() if (line := _missing(of, listing))]
    if missing:
        raise DataError("\n".join(missing))
    return [
        {**{key: of[i] for key, of in paths.items()}, "image_id": name, **(said or {})} for i, name in enumerate(names)
    ]


def _missing(paths: Sequence[str], listing: Listing) -> str:
    absent = listing.absent(Paths(paths))
    if not absent:
        return ""
    folder = os.path.commonpath([os.path.dirname(file_of(path)) for path in paths])
    return (
        f"{len(absent)} of {len(paths)} files of {folder} are missing, the first is {absent[0]}: unpack them again, or "
        f"take the whole folder away to do without that label"
    )
