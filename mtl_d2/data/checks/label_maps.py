"""Label maps: what their headers and those of their images say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

from mtl_d2.data.checks.examination import Examination
from mtl_d2.data.checks.files import HEADER_SECONDS, Headers
from mtl_d2.data.checks.partial_classes import absent_classes
from mtl_d2.data.checks.pixels import (
    Meaning,
    annotated_all_the_same,
    count_pixels,
    lane_masks,
    unknown_classes,
    unseen_classes,
)
from mtl_d2.data.class_mapping import mapping_of
from mtl_d2.data.images import Header, why_not_opened
from mtl_d2.data.label_map import LabelMapKeys
from mtl_d2.data.listing import Listing

PACKED = {"L;2": 85, "L;4": 17}  # bits that Pillow widens to 8 by a factor, which makes other ids of them
LOSSY = ("JPEG", "MPO", "WEBP")

logger = logging.getLogger(__name__)
Records = list[dict[str, Any]]


def check_label_maps(
    examination: Examination, keys: LabelMapKeys, number_of_classes: int, usual_ignored: int, key: Callable[[str], str]
) -> None:
    """Says what is wrong with the label maps of a data set.

    Args:
        examination: of the data set.
        keys: where its maps are.
        number_of_classes: of the head.
        usual_ignored: the id of pixels without a label in samples.
        key: the config key of an option of the head.
    """
    start, headers = time.monotonic(), examination.headers
    maps = [r for r in examination.cleaned if keys.file in r]
    examination.refuse(wrong_headers(maps, keys.file, headers))
    examination.warn(turned_images(maps, keys.file, headers))
    examination.warn(not_looked_at(maps, keys.file, headers, examination.listing))
    ignored = examination.metadata.get(keys.ignored, usual_ignored)
    mistakes = list(wrong_ignored_id(ignored, usual_ignored, number_of_classes, keys, key))
    examination.refuse(mistakes)
    if mistakes:
        return
    classes, absent = examination.metadata.get(keys.classes) or (), absent_classes(examination.metadata, keys.classes)
    is_mapped = mapping_of(examination.name) is not None
    meaning = Meaning(classes, number_of_classes, ignored, key("NUM_CLASSES"), absent, is_mapped)
    pixels = count_pixels([r for r in maps if is_usable(headers.get(r[keys.file]))], keys, meaning)
    examination.refuse(unknown_classes(pixels, meaning))
    examination.refuse(annotated_all_the_same(pixels, meaning))
    examination.warn(lane_masks(pixels))
    examination.warn(unseen_classes(pixels, meaning))
    logger.info(
        "%s: %d headers and the pixels of %d label maps looked at in %.1f s",
        examination.name, len(headers), len(pixels.counts), time.monotonic() - start,
    )  # fmt: skip


def wrong_ignored_id(
    ignored: Any, usual: int, number_of_classes: int, keys: LabelMapKeys, key: Callable[[str], str]
) -> Iterator[str]:
    """An id of pixels without a label that is no number, or that a class has in the samples."""
    option = key("IGNORE_VALUE")
    if not 0 <= usual <= 255:
        yield f"{option} must be in 0..255, as ids of 8 bits are, found {usual}"
    elif usual < number_of_classes and ignored != usual:
        yield (
            f"{option} is {usual}, the id of one of the {number_of_classes} classes, which would never be learnt, "
            f"while its maps say `{keys.ignored}` {ignored}: set it to 255"
        )
    if not isinstance(ignored, Integral):
        yield (
            f"`{keys.ignored}` in its metadata must be one whole number, found {ignored!r}: correct it, or leave it "
            f"out where the id is {option}"
        )


def wrong_headers(records: Records, key: str, headers: Headers) -> Iterator[str]:
    """Label maps that cannot be opened, that are none by their headers, or that have another size than their image."""
    maps = {r[key]: headers[r[key]] for r in records if r.get(key) in headers}
    of = f"of {len(maps)} label maps"
    broken = [file for file, header in maps.items() if header is None]
    if broken:
        yield f"{len(broken)} {of} cannot be opened, the first is {why_not_opened(broken[0])}"
    opened = {file: header for file, header in maps.items() if header is not None}
    other_modes = [file for file, header in opened.items() if not header.may_hold_ids]
    if other_modes:
        yield (
            f"{len(other_modes)} {of} are not one 8-bit channel of class ids, the first is {other_modes[0]}, found "
            f"{opened[other_modes[0]].numbers}: give the label maps, not their pictures in colours"
        )
    packed = [file for file, header in opened.items() if header.packing in PACKED]
    if packed:
        factor = PACKED[opened[packed[0]].packing]
        yield (
            f"{len(packed)} {of} are grey PNGs of fewer than 8 bits, the first is {packed[0]}, whose ids Pillow "
            f"multiplies by {factor}: write them with 8 bits"
        )
    lossy = [file for file, header in opened.items() if header.kind in LOSSY]
    if lossy:
        yield (
            f"{len(lossy)} {of} are {opened[lossy[0]].kind} files, which keep no ids, the first is {lossy[0]}: "
            "write the label maps as PNG"
        )
    yield from _other_sizes(records, key, headers)


def turned_images(records: Records, key: str, headers: Headers) -> Iterator[str]:
    """Images that EXIF turns or mirrors, which does not show in the size of their label maps, which are not."""
    pairs = _pairs(records, key, headers)
    turned = [
        r["file_name"]
        for r, image, labels in pairs
        if image.orientation != labels.orientation and image.size == labels.size and image.orientation > 1
    ]
    if turned:
        yield (
            f"{len(turned)} of {len(pairs)} images are turned or mirrored by EXIF, the first is {turned[0]}, but not "
            "their label maps, which have to be of the image as it is seen: look whether they are"
        )


def _other_sizes(records: Records, key: str, headers: Headers) -> Iterator[str]:
    pairs = _pairs(records, key, headers)
    differing = [(r, image, labels) for r, image, labels in pairs if image.size != labels.size]
    turned = [pair for pair in differing if pair[1].stored == pair[2].size]
    causes = (
        (turned, "EXIF turns the image, but not its label map: turn the map, or drop the image's tag"),
        ([pair for pair in differing if pair not in turned], "give the label maps of these images"),
    )
    for affected, advice in causes:
        if affected:
            record, image, labels = affected[0]
            sizes = (f"{width} x {height}" for width, height in (labels.size, image.size))
            yield (
                f"{len(affected)} of {len(pairs)} label maps have another size than their image, the first is "
                f"{record[key]}, {' and not '.join(sizes)}: {advice}"
            )


def _pairs(records: Records, key: str, headers: Headers) -> list[tuple[dict[str, Any], Header, Header]]:
    triples = [(r, headers.get(r["file_name"]), headers.get(r[key])) for r in records if key in r]
    return [(r, image, labels) for r, image, labels in triples if image is not None and labels is not None]


def not_looked_at(records: Records, key: str, headers: Headers, listing: Listing) -> Iterator[str]:
    """How many maps there was no time for."""
    left = sum(r[key] not in headers and listing.has(r[key]) for r in records)
    if left:
        yield (
            f"in {HEADER_SECONDS:.0f} s the headers of {len(records) - left} of {len(records)} label maps were looked "
            "at: what is wrong with the others is said when they are read"
        )


def is_usable(header: Header | None) -> bool:
    """Whether a file with this header may hold class ids."""
    return header is not None and header.may_hold_ids and header.packing not in PACKED and header.kind not in LOSSY
