"""Records: whether they can be read, told apart and divided."""

from __future__ import annotations

import difflib
import logging
import pickle
import time
import traceback
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from mtl_d2.data.annotations import image_key
from mtl_d2.data.errors import DataError
from mtl_d2.data.holdout import divide
from mtl_d2.data.listing import Listing
from mtl_d2.data.reading import read_records
from mtl_d2.data.roots import is_below_root, root_advice

QUICK = 0.1  # seconds; what takes longer is compared when it is read again, before the first update

logger = logging.getLogger(__name__)
Records = list[dict[str, Any]]


def read(name: str, listing: Listing | None = None) -> tuple[Records | None, list[str]]:
    """The records of a data set, or None and why not; read twice where that is quick, to see whether they change.

    Args:
        name: of the data set.
        listing: of the folders in which images that may be missing are looked for; one of its own if none.
    """
    if name not in DatasetCatalog:
        close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        return None, [
            f"no data set of this name is registered: {meant}There are those of docs/datasets.md, detectron2's own, "
            "and what the files in MTL.DATA.MODULES register"
        ]
    try:
        start = time.monotonic()
        records = read_records(name, listing)
        if time.monotonic() - start < QUICK:
            read_records(name)
    except DataError as e:
        return None, str(e).removeprefix(f"{name}: ").splitlines()
    except FileNotFoundError as e:
        if is_below_root(str(e.filename)):
            return None, [f"{e.filename} not found {root_advice('its files, or correct its reader')}"]
        return None, [f"{e.filename} not found: put it there, or correct the path in its reader"]
    except Exception as e:  # a reader that is not ours may raise anything
        logger.debug("reading %s failed", name, exc_info=True)
        return None, [f"cannot be read ({_in_one_line(e)}): correct its files or its reader"]
    if not records:
        return None, ["has no images: correct its folder or its reader"]
    return records, []


def _in_one_line(error: Exception) -> str:
    """What a reader raised, and where: the line of code says what a bare key or type does not."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}; {Path(place.filename).name}, line {place.lineno}: {place.line}"


def not_told_apart(records: Records) -> Iterator[str]:
    """What would have an evaluation count the predictions of one image for another, or twice."""
    files = [r["file_name"] for r in records if "image" not in r]  # in memory several may come from one file
    if _repeats(files):
        several = [file for file, n in Counter(files).items() if n > 1]
        yield (
            f"lists {len(several)} images more than once, the first is {several[0]}, but each is evaluated once: "
            "put all labels of an image into one record"
        )
        return
    labelled = [r for r in records if "annotations" in r]  # predicted objects are found by ids, maps by their files
    odd = [r for r in labelled if not _is_known_again(r.get("image_id", ""))]
    if odd:
        yield (
            f"`image_id` must be a number or a text, found {odd[0]['image_id']!r} in {len(odd)} of {len(labelled)} "
            f"records, the first is of {odd[0]['file_name']}: correct its reader"
        )
    elif _repeats(map(image_key, labelled)):
        first: dict[Hashable, str] = {}
        shared = [
            (r["file_name"], image_key(r), earlier)
            for r in labelled
            if (earlier := first.setdefault(image_key(r), r["file_name"])) != r["file_name"]
        ]
        file, key, earlier = shared[0]
        yield (
            f"{len(shared)} images have the `image_id` of another one, as {file} has {key!r}, that of {earlier}: "
            "give each image its own"
        )


def listed_twice(records: Records, keys: Sequence[str]) -> Iterator[str]:
    """Images that one training set has more than once, with labels for the same tasks, whose ``keys`` records have."""

    def labelled(record: dict[str, Any]) -> tuple[str, tuple[bool, ...]]:
        return record["file_name"], tuple(key in record for key in keys)

    records = [r for r in records if "image" not in r]
    if _repeats(r["file_name"] for r in records):
        several = [file for (file, _), n in Counter(map(labelled, records)).items() if n > 1]
        if several:
            yield (
                f"lists {len(several)} images more than once, the first is {several[0]}: they are trained on as often"
            )


def named_twice(cfg: CfgNode) -> Iterator[str]:
    """A test set that is named twice; a training set may be, to be seen more often."""
    several = [name for name, n in Counter(cfg.DATASETS.TEST).items() if n > 1]
    if several:
        yield f"DATASETS.TEST names {', '.join(several)} more than once: each test set is evaluated once, name it once"


def not_divisible(cfg: CfgNode, name: str, records: Records) -> Iterator[str]:
    """What keeps a part of a training set from being held out and evaluated."""
    share = cfg.MTL.DATA.VALIDATION_SHARE
    if share <= 0 or name not in cfg.DATASETS.TRAIN:
        return
    try:
        divide(records, share, cfg.SEED, name)
    except DataError as e:
        yield str(e)


def wrong_shares(cfg: CfgNode) -> Iterator[str]:
    """Shares of a batch that do not fit the training sets or the batch."""
    shares, names = cfg.MTL.DATA.PER_DATASET, cfg.DATASETS.TRAIN
    if not shares:
        return
    if len(shares) != len(names):
        yield (
            f"MTL.DATA.PER_DATASET must have one number per data set of DATASETS.TRAIN, {len(names)}; "
            f"found {len(shares)}: {tuple(shares)} for {tuple(names)}"
        )
    if sum(shares) != cfg.SOLVER.IMS_PER_BATCH or min(shares) < 1:
        yield (
            "MTL.DATA.PER_DATASET must be numbers >= 1 whose sum is SOLVER.IMS_PER_BATCH, "
            f"{cfg.SOLVER.IMS_PER_BATCH}; found {tuple(shares)} with sum {sum(shares)}: change one of the two"
        )


def _is_known_again(value: Any) -> bool:
    """Whether a value equals the copy of it that comes out of a loader's process."""
    if isinstance(value, int | str):
        return True
    try:
        return pickle.loads(pickle.dumps(value)) in {value}
    except Exception:  # noqa: BLE001  # whatever it is: it cannot be hashed, or copied
        return False


def _repeats(values: Iterable[Hashable]) -> bool:
    given = list(values)
    return len(set(given)) < len(given)
