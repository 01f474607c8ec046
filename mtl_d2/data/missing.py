"""Records whose image is not there, left out where the data set's metadata ask for it."""

from __future__ import annotations

import logging
from typing import Any

from detectron2.data import MetadataCatalog

from mtl_d2.data.errors import DataError
from mtl_d2.data.listing import Listing, image_paths
from mtl_d2.data.once import warn_once

KEY = "missing_images"  # of the metadata
LEAVE_OUT = "leave_out"

logger = logging.getLogger(__name__)
Records = list[dict[str, Any]]


def leave_out_missing(name: str, records: Records, listing: Listing | None = None) -> Records:
    """The records whose image is there, if the metadata say ``missing_images="leave_out"``; all, if they do not.

    Args:
        name: of the data set.
        records: that its reader gives.
        listing: in which the folders of images are looked at; one of its own if none.

    Raises:
        DataError: ``missing_images`` is something else.
    """
    wanted = MetadataCatalog.get(name).get(KEY)
    if wanted is None:
        return records
    if wanted != LEAVE_OUT:
        raise DataError(f"{name}: `{KEY}` in its metadata must be {LEAVE_OUT!r}, or not be set; found {wanted!r}")
    absent = set((listing or Listing()).absent(image_paths(records)))
    if absent:
        kept = [r for r in records if r["file_name"] not in absent]
        warn_once(
            logger,
            f"{name}: {len(records) - len(kept)} of {len(records)} records are left out, their image is not there, the "
            f"first is {min(absent)}: what is trained on, or measured, is the rest",
        )
        return kept
    return records
