"""A few records that stand for all records of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Record = dict[str, Any]
FORMS = 64  # a data set whose annotations take more forms than this has noise for keys


def choose(records: Sequence[Record], most: int, pixels: Callable[[Record], int], budget: int) -> list[Record]:
    """All records, or the first of each form that annotations take, and some spread evenly over the rest.

    Args:
        records: of a data set.
        most: records that are chosen, >= 1.
        pixels: what looking at a record costs.
        budget: of pixels that may be looked at; the first record is chosen whatever it costs.

    Returns:
        the records in their order.
    """
    count = len(records)
    spread = [round((i + 0.5) * count / most - 0.5) for i in range(most)] if count > most else range(count)
    chosen: dict[int, None] = {}
    for index in dict.fromkeys((*_first_of_each_form(records), *spread)):
        budget -= pixels(records[index])
        if len(chosen) == most or (budget < 0 and chosen):
            break
        chosen[index] = None
    return [records[index] for index in sorted(chosen)]


def _first_of_each_form(records: Sequence[Record]) -> Iterator[int]:
    """What one annotation in a thousand lacks, or has in another form, is what an evaluation fails of."""
    seen: set[Any] = set()
    for index, record in enumerate(records):
        forms = {_form(a) for a in record.get("annotations") or ()} or {tuple(record)}
        if forms - seen and len(seen) < FORMS:
            seen |= forms
            yield index


def _form(annotation: Any) -> Any:
    if not isinstance(annotation, dict):
        return type(annotation)
    segmentation = annotation.get("segmentation")
    inner = type(segmentation[0]) if isinstance(segmentation, list) and segmentation else segmentation is None
    return (*annotation, type(segmentation), inner, bool(annotation.get("iscrowd")), type(annotation.get("bbox")))
