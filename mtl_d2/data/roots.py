"""The folder that data sets are looked for in, and what is said when they are not there."""

from __future__ import annotations

import os
from pathlib import Path

from mtl_d2.data.errors import DataError

ROOT = "DETECTRON2_DATASETS"  # the environment variable, detectron2's


def require_folder(folder: Path, holds: str) -> Path:
    """``folder``, which is there.

    Args:
        folder: of a data set.
        holds: what the folder that the variable names has to hold.

    Raises:
        DataError: it is not there.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} not found {root_advice(holds)}")
    return folder


def is_below_root(file: str) -> bool:
    """Whether ``file`` is looked for in the folder that the variable names, or in the one that stands for it."""
    return Path(os.environ.get(ROOT, "datasets")).absolute() in Path(file).absolute().parents


def root_advice(holds: str) -> str:
    """What to do about files that are not found: where they were looked for, and where they belong."""
    value = os.environ.get(ROOT)
    variable = "is not set" if value is None else f"is {value!r}"
    return f"(${ROOT} {variable}): set ${ROOT} to the folder that holds {holds}"
