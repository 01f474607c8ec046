"""The part of each training set that is kept from training, for accuracies that weights may be chosen by."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mtl_d2.data.catalog import register_anew
from mtl_d2.data.errors import DataError
from mtl_d2.data.reading import read_records

SUFFIX = "@validation"
# Metadata that the held-out part does not share: with its set's json_file it would be evaluated on the whole set.
_OWN = ("name", "json_file")

Records = list[dict[str, Any]]


def divide(records: Sequence[dict[str, Any]], share: float, seed: int, name: str) -> tuple[Records, Records]:
    """The training and the held-out part of a data set, each in the order of ``records``.

    A function of (seed, name) and of the file names; neither their order nor their folder matters. All records of one
    image are on the same side.

    Args:
        records: with a ``file_name`` each.
        share: of the images to be held out, in [0, 1); above 0 it is at least one image.
        seed: the run's, as the config has it.
        name: of the data set.

    Raises:
        DataError: nothing would be left to train on.
    """
    if share <= 0:
        return list(records), []
    files = sorted({r["file_name"] for r in records})
    count = max(1, round(share * len(files)))
    if count >= len(files):
        raise DataError(
            f"MTL.DATA.VALIDATION_SHARE must leave images to train on, but {share} of the {len(files)} in {name} is "
            "all: lower it, or take this data set out of DATASETS.TRAIN"
        )
    held = set(random.Random(f"{seed} {name}").sample(files, count))
    return [r for r in records if r["file_name"] not in held], [r for r in records if r["file_name"] in held]


def register_held_out(cfg: CfgNode) -> tuple[str, ...]:
    """Puts ``NAME@validation`` for each NAME of ``DATASETS.TRAIN`` into detectron2's catalogs, and names them.

    Nothing is read before it is asked for, and then once. Names registered before are registered anew.

    Args:
        cfg: ``DATASETS.TRAIN``, ``MTL.DATA.VALIDATION_SHARE`` > 0, ``SEED``.
    """
    names = tuple(dict.fromkeys(cfg.DATASETS.TRAIN))  # one that is named twice is trained on twice, not evaluated twice
    for name in names:
        held = name + SUFFIX
        read = functools.partial(_read_held_out, name, cfg.MTL.DATA.VALIDATION_SHARE, cfg.SEED)
        register_anew(held, functools.cache(read))
        _copy_metadata(name)
    return tuple(name + SUFFIX for name in names)


def _read_held_out(name: str, share: float, seed: int) -> Records:
    _, held = divide(read_records(name), share, seed, name)
    _copy_metadata(name)  # some readers find the classes only now
    return held


def _copy_metadata(name: str) -> None:
    metadata = MetadataCatalog.get(name).as_dict()
    MetadataCatalog.get(name + SUFFIX).set(**{key: value for key, value in metadata.items() if key not in _OWN})
