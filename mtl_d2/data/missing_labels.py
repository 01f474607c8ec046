"""Files of labels that a data set's lists promise, and images and labels that are not each other's."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence

from detectron2.data import MetadataCatalog

from mtl_d2.data.errors import DataError
from mtl_d2.data.listing import Listing, Paths
from mtl_d2.data.once import warn_once

KEY = "unpaired_files"  # of the metadata
LEAVE_OUT, REFUSE = "leave_out", "refuse"

logger = logging.getLogger(__name__)


def leave_out_unpaired(dataset: str, alone: Sequence[tuple[str, str]]) -> None:
    """Says once what a reader leaves out, or refuses it if the metadata say ``unpaired_files="refuse"``.

    Args:
        dataset: its name; empty = it leaves them out.
        alone: how many images have no label, or labels no image, in words; and the name of the first.

    Raises:
        DataError: nothing is to be left out, or ``unpaired_files`` is something else.
    """
    wanted = MetadataCatalog.get(dataset).get(KEY, LEAVE_OUT) if dataset else LEAVE_OUT
    if wanted not in (LEAVE_OUT, REFUSE):
        raise DataError(
            f"{dataset}: `{KEY}` in its metadata must be {LEAVE_OUT!r}, as if it were not set, or {REFUSE!r}; found "
            f"{wanted!r}"
        )
    if alone and wanted == REFUSE:
        said = " and ".join(f"{what}, the first is {first}" for what, first in alone)
        raise DataError(f"{dataset}: {said}: add them, or leave `{KEY}` out of its metadata")
    for what, first in alone:
        warn_once(logger, f"{what} and are left out, the first is {first}")


def require_files(paths: Iterable[str | os.PathLike[str]], advice: str) -> None:
    """Files that are there.

    Args:
        paths: of the labels of one task.
        advice: what to do where they are not.

    Raises:
        DataError: some are not; how many, and the first.
    """
    wanted = sorted(os.fspath(path) for path in paths)
    missing = Listing().absent(Paths(wanted))
    if missing:
        ending = os.path.splitext(missing[0])[1]
        raise DataError(
            f"{len(missing)} of {len(wanted)} files *{ending} of a label are missing, the first is {missing[0]}: "
            f"{advice}"
        )
