"""Files of images and labels: whether they are there, and what their headers say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from mtl_d2.data.array_images import IMAGE_RULE, is_image_form
from mtl_d2.data.augmentations import cuts_polygons
from mtl_d2.data.errors import DataError
from mtl_d2.data.fingerprint import FILE
from mtl_d2.data.images import Header, read_file, read_header, why_not_opened
from mtl_d2.data.listing import Listing, Paths, Places, number_in_both
from mtl_d2.data.missing import KEY, LEAVE_OUT

LOOKED_AT = 8  # images of a data set without label maps whose headers are read
HEADER_SECONDS = 30.0  # at most, for the headers of one data set
THREADS = 8  # that wait for files together: on a disk of its own one would do, on a network all of them help
CHUNK = 512  # records between two looks at the clock
DARK = 1 << 14  # grey values of 16 bits that end below it are those of a camera of 14 bits or fewer

Records = list[dict[str, Any]]
Headers = dict[str, Header | None]


def missing_files(images: Paths, records: Records, keys: Sequence[str], listing: Listing) -> Iterator[str]:
    """Files of images, and of labels that a task of the config reads, which are not there.

    Args:
        images: paths of the records' images.
        records: of the data set.
        keys: of records, that name files of labels which a task of the config reads.
        listing: of their folders.
    """
    labels = Paths(r[key] for key in dict.fromkeys(keys) for r in records if key in r)
    for what, paths, other_mend in (
        ("image", images, f", or set `{KEY}={LEAVE_OUT!r}` in its metadata"),
        ("label", labels, ""),
    ):
        missing = listing.absent(paths)
        if missing:
            yield (
                f"{len(missing)} of {len(paths.paths)} {what} files are missing, the first is {missing[0]}: "
                f"add them, or take their records out{other_mend}"
            )


def uncuttable(cfg: CfgNode, records: Records) -> Iterator[str]:
    """Polygons that a random crop would cut, which detectron2 leaves to a package that it does not require."""
    if not cuts_polygons(cfg):
        return
    masks = (a.get("segmentation") for r in records for a in r.get("annotations") or ())
    if find_spec("shapely") is None and any(isinstance(mask, list) for mask in masks):
        key, advice = (
            ("AUGMENTATIONS", "take crops out") if cfg.INPUT.AUGMENTATIONS else ("CROP.ENABLED", "set it to False")
        )
        yield f"INPUT.{key} cuts its polygons, which takes shapely: `pip install shapely`, or {advice}"


def shared_images(train: Sequence[Places], test: Places) -> Iterator[str]:
    """Images of a test set that are trained on."""
    shared = sum(number_in_both(test, places) for places in train)
    if shared:
        yield f"{shared} of its images are trained on as well: what is measured on them says little of others"


def spread(records: Records, count: int) -> Records:
    """``count`` of the records, at equal distances."""
    return [records[i] for i in np.linspace(0, len(records) - 1, min(count, len(records))).astype(int)]


def read_headers(
    records: Iterable[dict[str, Any]], map_keys: Sequence[str], listing: Listing, seconds: float = HEADER_SECONDS
) -> Headers:
    """Headers of the files that are there, of as many records as there is time for, in their order.

    Args:
        records: whose image and label maps are looked at.
        map_keys: of records, that name label maps.
        listing: of their folders.
        seconds: after which no further records are begun.

    Returns:
        the header by file, None where one cannot be opened.
    """
    headers: Headers = {}
    start, remaining = time.monotonic(), iter(records)
    with ThreadPoolExecutor(THREADS) as pool:
        while time.monotonic() - start < seconds and (chunk := list(islice(remaining, CHUNK))):
            files = [r[key] for r in chunk for key in (FILE, *map_keys) if key in r]
            files = [file for file in dict.fromkeys(files) if file not in headers and listing.has(file)]
            headers.update(zip(files, pool.map(read_header, files), strict=True))
    return headers


def wrong_images(records: Records, headers: Headers) -> Iterator[str]:
    """Images that cannot be opened, have another size than their record says, or pixels without a known white.

    Args:
        records: those whose headers were looked at.
        headers: of their files; a file that is missing has none.
    """
    seen = [r for r in records if r["file_name"] in headers]
    broken = [r["file_name"] for r in seen if headers[r["file_name"]] is None]
    if broken:
        yield (
            f"{len(broken)} of {len(seen)} images looked at cannot be opened, the first is {why_not_opened(broken[0])}"
        )
    opened = [(r, header) for r in seen if (header := headers[r["file_name"]]) is not None]
    yield from _other_sizes(opened)
    forms = [(r["file_name"], h.form) for r, h in opened if h.form is not None and not is_image_form(h.form)]
    if forms:
        yield (
            f"{len(forms)} of {len(seen)} arrays looked at are no images, the first is {forms[0][0]}, {forms[0][1]}: "
            f"an image is {IMAGE_RULE}"
        )
    floats = [
        r["file_name"] for r, h in opened if h.form is not None and is_image_form(h.form) and h.form.dtype.kind == "f"
    ]
    yield from _beyond_white(floats[:LOOKED_AT])
    without = [(r["file_name"], header.mode) for r, header in opened if header.bits == 32]
    if without:
        yield (
            f"{len(without)} of {len(seen)} images looked at have pixels of 32 bits (Pillow's mode {without[0][1]}), "
            f"which have no known white, the first is {without[0][0]}: write them with 8 or 16 bits"
        )
    yield from _dark([r["file_name"] for r, header in opened if header.bits == 16][:LOOKED_AT])


def _other_sizes(opened: list[tuple[dict[str, Any], Header]]) -> Iterator[str]:
    """An annotation file that is of other images, or of the same ones at another size."""
    sized = [(r, header) for r, header in opened if r.get("width") is not None and r.get("height") is not None]
    differing = [(r, header) for r, header in sized if header.size != (r["width"], r["height"])]
    turned = [(r, header) for r, header in differing if header.stored == (r["width"], r["height"])]
    for affected, advice in (
        (turned, "EXIF turns the images, which their records do not know: annotate the turned images, or drop the tag"),
        ([pair for pair in differing if pair not in turned], "take the annotation file that is of these images"),
    ):
        if affected:
            record, header = affected[0]
            said = _by((record["width"], record["height"]))
            yield (
                f"{len(affected)} of {len(sized)} images looked at have another size than their record says, the first "
                f"is {record['file_name']}, {_by(header.size)} and not {said}: {advice}"
            )


def _beyond_white(files: Sequence[str]) -> Iterator[str]:
    """Images in floats that do not lie in 0..1, or are not finite."""
    lines = []
    for file in files:
        try:
            read_file(file, "RGB")
        except DataError as error:
            lines.append(str(error))
    if lines:
        yield lines[0] + (f" (so are {len(lines)} of the {len(files)} looked at)" if len(lines) > 1 else "")


def _dark(files: Sequence[str]) -> Iterator[str]:
    try:
        brightest = max((int(read_file(file, None).max()) for file in files), default=DARK)
    except DataError as e:
        yield str(e)
        return
    if brightest < DARK:
        yield (
            f"images of 16 bits, of which 65535 is white, hold {brightest} at most in the {len(files)} looked at, the "
            f"first is {files[0]}, and would be trained on as nearly black: scale them, or write them with 8 bits"
        )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
