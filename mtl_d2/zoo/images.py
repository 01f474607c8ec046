"""How many images the training sets have that runs were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from detectron2.config import CfgNode

from mtl_d2.config import MODULES
from mtl_d2.data import DataError, register_all
from mtl_d2.data.modules import import_modules
from mtl_d2.data.reading import digest, read_records
from mtl_d2.report.run import Run
from mtl_d2.tasks.registry import label_files


def count_images(run: Run, records: Mapping[str, str]) -> dict[str, int]:
    """By training set: its images, where it is registered here and has the records that the run was trained on.

    Args:
        run: its config names data sets, tasks and the files that register the sets.
        records: a digest of each set's records, from the run's checkpoint.
    """
    _register(tuple(run.setting(MODULES) or ()))
    labels = tuple(sorted(label_files(run.setting("MTL.TASKS") or ())))
    counts = {name: _count(name, expected, labels) for name, expected in records.items()}
    return {name: count for name, count in counts.items() if count}


@cache
def _register(modules: tuple[str, ...]) -> None:
    register_all()
    try:
        import_modules(CfgNode({"MTL": {"DATA": {"MODULES": list(modules)}}}))
    except DataError:
        return  # then its sets are not registered, and not counted


@cache
def _count(name: str, expected: str, labels: tuple[str, ...]) -> int:
    try:
        return len(read_records(name)) if digest(name, labels) == expected else 0
    except (DataError, OSError, KeyError, ValueError):
        return 0  # not registered, or its files are not here
