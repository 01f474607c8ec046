"""Maps of depth and of normals: what is wrong with a sample of their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mtl_d2.data.checks.files import THREADS, spread
from mtl_d2.data.dense_maps import METRES, DenseMaps, DepthMaps, other_size
from mtl_d2.data.errors import DataError
from mtl_d2.data.image_size import image_size

SAMPLE = 32  # maps that are looked at
USUAL_METRES = (0.1, 1000.0)  # that the median of depths lies in
AWAY = 0.1  # z of a normal beyond which a surface clearly faces the camera (below 0), or away from it: nobody sees it
ODD = 0.05  # share of a map's pixels that may be no depth or no unit vectors

Records = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class _Map:
    """What a map holds.

    Attributes:
        file: of it.
        labelled: share of its pixels that have a label.
        odd: share of its pixels that cannot be what they are to be; see ``DenseLabel``.
        median: of the labelled values.
        most: the largest of them.
        away: share of normals that point away from the camera, of those that clearly do or do not; 0 of depth.
        far: share of the labelled depths beyond ``USUAL_METRES``; 0 of normals.
    """

    file: str
    labelled: float
    odd: float
    median: float
    most: float = 0.0
    away: float = 0.0
    far: float = 0.0


@dataclass
class DenseFindings:
    """What was found in the maps looked at.

    Attributes:
        total: number of maps that there are.
        maps: those that could be read.
        mistakes: the lines of the others, by what they say besides the file.
    """

    total: int
    maps: list[_Map] = field(default_factory=list)
    mistakes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def looked_at(self) -> str:
        """How many, in words."""
        n = len(self.maps)
        return f"its {n} maps" if n == self.total else f"the {n} of its {self.total} maps looked at"


def look_at_maps(records: Records, keys: DenseMaps, metadata: Any) -> DenseFindings:
    """Reads ``SAMPLE`` maps at equal distances.

    Args:
        records: of a data set, with or without such a map; maps are compared with the size of their image.
        keys: of the maps.
        metadata: of the data set.
    """
    labelled = [r for r in records if keys.file in r]
    findings = DenseFindings(len(labelled))
    with ThreadPoolExecutor(THREADS) as pool:
        for result in pool.map(partial(_look, keys, metadata), spread(labelled, SAMPLE)):
            if isinstance(result, _Map):
                findings.maps.append(result)
            else:
                line, file = result
                findings.mistakes.setdefault(line.replace(file, ""), []).append(line)
    return findings


def _look(keys: DenseMaps, metadata: Any, record: dict[str, Any]) -> _Map | tuple[str, str]:
    file = record[keys.file]
    try:
        values, odd = keys.read(record, metadata)
    except DataError as error:
        return str(error), file
    size = _size(record)
    if size is not None and values.shape[:2] != size:
        return other_size(file, values, size), file
    labelled = (values != 0).reshape(*values.shape[:2], -1).any(-1)
    stored = values[labelled]  # (N,) or (N, 3)
    if not len(stored):
        return _Map(file, 0.0, odd / labelled.size, 0.0)
    if stored.ndim == 2:
        along = stored[np.abs(stored[:, 2]) > AWAY, 2]
        found = {"away": float((along > 0).mean()) if len(along) else 0.0}
    else:
        found = {"far": float((stored > USUAL_METRES[1]).mean())}
    return _Map(
        file, float(labelled.mean()), odd / labelled.size, float(np.median(stored)), float(stored.max()), **found
    )


def _size(record: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of the image, by its record or its file; None where neither says it."""
    if "height" in record and "width" in record:
        return int(record["height"]), int(record["width"])
    size = image_size(record) if {"image", "file_name"} & record.keys() else None
    return size[::-1] if size else None


def unusable_maps(findings: DenseFindings) -> Iterator[str]:
    """Maps that cannot be read or do not fit, and data sets that have no label in any."""
    for lines in findings.mistakes.values():
        yield lines[0] + (f" (the same of {len(lines)} of those looked at)" if len(lines) > 1 else "")
    if findings.maps and not any(dense_map.labelled for dense_map in findings.maps):
        yield (
            f"{findings.looked_at} hold no label at all, the first is {findings.maps[0].file}: every pixel is 0, "
            "negative or not finite; give the right files, or take the key out of its records"
        )


def empty_maps(findings: DenseFindings) -> Iterator[str]:
    """Maps without a label, beside others that have some."""
    empty = [dense_map.file for dense_map in findings.maps if not dense_map.labelled]
    if empty and len(empty) < len(findings.maps):
        yield (
            f"{len(empty)} of {findings.looked_at} hold no label at all, the first is {empty[0]}: nothing is learnt "
            "from them"
        )


def odd_depths(findings: DenseFindings, keys: DepthMaps, metadata: Any) -> Iterator[str]:
    """Depth in another unit than it is said to be, or that is negative or not finite."""
    medians = sorted(dense_map.median for dense_map in findings.maps if dense_map.labelled)
    unit = metadata.get(keys.unit, METRES)
    if medians and unit == METRES and not USUAL_METRES[0] <= medians[len(medians) // 2] <= USUAL_METRES[1]:
        least, most = USUAL_METRES
        yield (
            f"the median depth of {findings.looked_at} is {medians[len(medians) // 2]:.4g} m, outside {least:g} to "
            f"{most:g}: is it stored as {metadata.get(keys.encoding, METRES)!r}? Correct `{keys.encoding}`, or set "
            f"`{keys.unit}` in its metadata if it is not in metres"
        )
    far = [one for one in findings.maps if one.far > ODD]
    if unit == METRES and far and not (medians and medians[len(medians) // 2] > USUAL_METRES[1]):
        yield (
            f"{100 * far[0].far:.0f} % of the labelled pixels of {far[0].file} are beyond {USUAL_METRES[1]:g} m, "
            f"up to {far[0].most:.4g} ({len(far)} of {findings.looked_at} have more than {100 * ODD:.0f} %): if that "
            "number stands for the sky or for no depth, write 0 in its place"
        )
    yield from _odd(findings, "are negative or not finite, and have no label")


def odd_normals(findings: DenseFindings) -> Iterator[str]:
    """Normals that are no unit vectors, or of surfaces that face away from the camera."""
    away = [one for one in findings.maps if one.away > 0.5]
    if 2 * len(away) > len(findings.maps):
        yield (
            f"{100 * away[0].away:.0f} % of the normals along the view in {away[0].file} point away from the camera "
            f"({len(away)} of {findings.looked_at} have more than 50 %): name the axes of the file by `normals_axes`, "
            "such as '+x +y -z'"
        )
    yield from _odd(findings, "are no unit vectors; their direction is taken")


def _odd(findings: DenseFindings, what: str) -> Iterator[str]:
    odd = [dense_map for dense_map in findings.maps if dense_map.odd > ODD]
    if odd:
        yield (
            f"{100 * odd[0].odd:.0f} % of the pixels of {odd[0].file} {what} ({len(odd)} of {findings.looked_at} have "
            f"more than {100 * ODD:.0f} %): look whether it is the right file"
        )
