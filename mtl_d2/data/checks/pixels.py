"""Label maps: the class ids that a sample of them holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mtl_d2.data.checks.files import THREADS, spread
from mtl_d2.data.checks.findings import some
from mtl_d2.data.datasets.bdd100k_maps import lane_mask_mistake
from mtl_d2.data.errors import DataError
from mtl_d2.data.images import read_ids, unknown_ids, wrong_ids
from mtl_d2.data.label_map import LabelMapKeys

SAMPLE = 32  # maps that are looked at; further ones only while a class has not been seen
MOST = 256
SECONDS = 10.0  # after which no further ones are begun

Records = list[dict[str, Any]]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Meaning:
    """What the ids of a data set's label maps stand for.

    Attributes:
        classes: their names, of ids from 0.
        number: of the classes of the head.
        ignored: the id of pixels without a label.
        key: the config key of that number.
        absent: the ids of classes that the data set says it is not annotated for.
        mapped: whether ids are the run's, to which the data set's own were mapped.
    """

    classes: Sequence[str]
    number: int
    ignored: int
    key: str
    absent: frozenset[int] = frozenset()
    mapped: bool = False


@dataclass
class Pixels:
    """What was found in the maps looked at.

    Attributes:
        counts: (256,) pixels of each id, by file.
        total: number of maps that there are.
        broken: the lines of the maps that could not be read, by what they say besides the file.
    """

    total: int
    counts: dict[str, Counts] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)

    @property
    def looked_at(self) -> str:
        """How many, in words."""
        n = len(self.counts)
        return f"its {n} label maps" if n == self.total else f"the {n} of its {self.total} label maps looked at"

    @property
    def per_id(self) -> Counts:
        """(256,) pixels of each id in all maps."""
        return np.sum(list(self.counts.values()), axis=0)


def count_pixels(records: Records, keys: LabelMapKeys, meaning: Meaning, seconds: float = SECONDS) -> Pixels:
    """Looks at ``SAMPLE`` maps at equal distances, then at others, drawn at random, until every class has been seen.

    Args:
        records: of label maps.
        keys: where they are.
        meaning: of their ids.
        seconds: after which no further maps are begun; neither are they after ``MOST``.
    """
    first = spread(records, SAMPLE)
    known = {r[keys.file] for r in first}
    rest = [r for r in records if r[keys.file] not in known]
    order = np.random.default_rng(0).permutation(len(rest))[: MOST - len(first)]
    wanted = [*first, *(rest[i] for i in order)]
    pixels, start = Pixels(len(known) + len(rest)), time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for begin in range(0, len(wanted), SAMPLE):
            chunk = wanted[begin : begin + SAMPLE]
            for record, counts in zip(chunk, pool.map(partial(_count, keys, meaning.ignored), chunk), strict=True):
                file = record[keys.file]
                if isinstance(counts, str):
                    pixels.broken.setdefault(counts.replace(file, ""), []).append(counts)
                else:
                    pixels.counts[file] = counts
            if time.monotonic() - start > seconds or set(_unseen(pixels, meaning)) <= {meaning.ignored}:
                break
    return pixels


def unknown_classes(pixels: Pixels, meaning: Meaning) -> Iterator[str]:
    """Ids that are no class, maps without any, and maps that could not be read."""
    for lines in pixels.broken.values():
        yield lines[0] + (f" (the same of {len(lines)} of those looked at)" if len(lines) > 1 else "")
    wrong = {file: ids for file, of in pixels.counts.items() if (ids := wrong_ids(of, meaning.number, meaning.ignored))}
    if wrong:
        first = next(iter(wrong))
        ids = sorted(set().union(*wrong.values()))
        more = f" ({len(wrong)} of {pixels.looked_at} hold such ids)" if len(wrong) > 1 else ""
        if meaning.mapped:  # to an id that says nothing
            yield (
                f"{first}: holds ids that are none of the data set's own classes, nor its ignored id{more}: correct "
                "the list of classes in its metadata, or the `ignore_label` there"
            )
        else:
            yield f"{first}: holds {unknown_ids(ids, meaning.number, meaning.ignored, meaning.key)}{more}"
    if pixels.counts and len(_empty(pixels, meaning)) == len(pixels.counts):
        yield (
            f"{pixels.looked_at} hold nothing but the ignored id {meaning.ignored}: correct them, or the "
            "`ignore_label` in its metadata"
        )


def unseen_classes(pixels: Pixels, meaning: Meaning) -> Iterator[str]:
    """Classes that no pixel is of, and maps of ignored pixels only."""
    empty, unseen = _empty(pixels, meaning), _unseen(pixels, meaning)
    if len(empty) == len(pixels.counts):  # refused, or there are none
        return
    if empty:
        yield (
            f"{len(empty)} of {pixels.looked_at} hold nothing but the ignored id {meaning.ignored}, the first is "
            f"{empty[0]}: nothing is learnt from them"
        )
    if unseen:
        names = (f"{_name(meaning, i)!r} ({i}{', the ignored id' * (i == meaning.ignored)})" for i in unseen)
        ids = (f"{i}{' (ignored)' * (i == meaning.ignored)}" for i in np.flatnonzero(pixels.per_id).tolist())
        verb = "is" if len(unseen) == 1 else "are"
        yield (
            f"{len(unseen)} of its {meaning.number} classes, {some(names)}, {verb} in none of "
            f"{pixels.looked_at}, which hold {some(ids)}: where another value stands for a class, write the "
            "class's id or map it with `sem_seg_table`"
        )


def annotated_all_the_same(pixels: Pixels, meaning: Meaning) -> Iterator[str]:
    """Pixels of classes that the data set says it is not annotated for."""
    absent = sorted(meaning.absent)
    wrong = {file: ids for file, of in pixels.counts.items() if (ids := [i for i in absent if of[i]])}
    if wrong:
        file, ids = next(iter(wrong.items()))
        yield (
            f"{len(wrong)} of {pixels.looked_at} hold pixels of classes that its metadata leave out of what it is "
            f"annotated for, the first is {file}: {_name(meaning, ids[0])!r}; name the class there, or have its reader "
            "ignore them by `sem_seg_table`"
        )


def lane_masks(pixels: Pixels) -> Iterator[str]:
    """Maps that may hold bits where ids are read."""
    mistake = lane_mask_mistake(pixels.per_id) if pixels.counts else None
    if mistake:
        yield f"{pixels.looked_at} {mistake}"


def _count(keys: LabelMapKeys, ignored: int, record: dict[str, Any]) -> Counts | str:
    try:
        labels = read_ids(record[keys.file], record.get(keys.table), record.get(keys.ignored, ignored))
    except DataError as e:
        return str(e)
    return np.bincount(labels.reshape(-1), minlength=256)


def _empty(pixels: Pixels, meaning: Meaning) -> list[str]:
    """Files of maps that hold nothing but the ignored id."""
    return [file for file, of in pixels.counts.items() if set(np.flatnonzero(of)) == {meaning.ignored}]


def _unseen(pixels: Pixels, meaning: Meaning) -> list[int]:
    """Classes that no pixel is of, or that are ignored."""
    if not pixels.counts:
        return [i for i in range(meaning.number) if i not in meaning.absent]
    per_id = pixels.per_id
    return [i for i in range(meaning.number) if i not in meaning.absent and (not per_id[i] or i == meaning.ignored)]


def _name(meaning: Meaning, i: int) -> str:
    return meaning.classes[i] if i < len(meaning.classes) else str(i)
