"""Arrays that are made once and kept in a folder of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtl_d2.data.errors import DataError

Arrays = Mapping[str, npt.NDArray]


def cache_folder() -> Path:
    """``$MTL_D2_CACHE``; without it ``mtl_d2`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    chosen = os.environ.get("MTL_D2_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mtl_d2")


def cached(key: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays that ``make`` gives, from the cache if they are there. Processes on one machine share their memory.

    Args:
        key: file name; holds whatever the arrays depend on.
        make: called if the cache has no ``key``.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = cache_folder() / key
    if not folder.is_dir():
        try:
            _write(folder, make())
        except OSError as e:
            raise DataError(f"{folder} cannot be written ({e}): set MTL_D2_CACHE to a folder that can") from e
    # Copy on write: torch takes no array that cannot be written to.
    return {path.stem: np.load(path, mmap_mode="c") for path in sorted(folder.glob("*.npy"))}


def _write(folder: Path, arrays: Arrays) -> None:
    """Writes into a folder beside it and renames that, so that no process ever sees half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as temporary:
        draft = Path(temporary, "new")
        draft.mkdir()
        for name, array in arrays.items():
            np.save(draft / f"{name}.npy", array)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same arrays
                raise
