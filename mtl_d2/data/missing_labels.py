"""Files of labels that a data set's lists promise."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mtl_d2.data.errors import DataError
from mtl_d2.data.listing import Listing, Paths


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
