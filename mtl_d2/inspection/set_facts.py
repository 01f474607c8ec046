"""What a data set is, in a table: images, tasks, classes that are annotated, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from html import escape

import pandas as pd

from mtl_d2.data.annotated_classes import NOT_ANNOTATED, NOT_EXHAUSTIVE, annotated_classes
from mtl_d2.data.errors import DataError
from mtl_d2.inspection.findings import Findings, SetFindings
from mtl_d2.inspection.labels.base import share
from mtl_d2.report.markup import table
from mtl_d2.tasks.registry import kinds_of
from mtl_d2.tasks.sources import PSEUDO, has_pseudo_labels, unprefixed

SIZES = 4  # that are listed


def facts(findings: Findings, seen: SetFindings) -> str:
    """The table."""
    records = seen.data_set.records
    rows = {"images": f"{len(records):,}; {len(seen.observed)} samples of them were looked at"}
    if seen.failed:
        rows["samples that cannot be made"] = str(len({failure.file for failure in seen.failed}))
    rows |= _tasks(findings, seen)
    if seen.observed:
        rows["sizes as stored"] = _sizes(one.stored for one in seen.observed)
        rows["trained on at" if seen.data_set.is_trained_on else "tested at"] = _sizes(
            one.shown for one in seen.observed
        )
    rows |= _annotated(findings, seen)
    cells = pd.DataFrame({"": [escape(text) for text in rows.values()]}, index=list(rows))
    return table(cells, numeric=False)


def _tasks(findings: Findings, seen: SetFindings) -> dict[str, str]:
    """How many images have a label of each task, and how many of those are a teacher's."""
    rows = {}
    records = seen.data_set.records
    taught = [unprefixed(r, PSEUDO) for r in records if has_pseudo_labels(r)]
    for kind in kinds_of(findings.cfg.MTL.TASKS):
        true = sum(map(kind.is_in_record, records)) if kind.is_in_some(records) else 0
        pseudo = sum(map(kind.is_in_record, taught))
        text = f"{true:,} images are labelled ({share(true, len(records))})" if true else "not labelled"
        rows[kind.task] = text + (f"; {pseudo:,} have pseudo labels" if pseudo else "")
    return rows


def _sizes(sizes: Iterable[tuple[int, int]]) -> str:
    counts = Counter(sizes)
    total = sum(counts.values())
    most = [f"{width} x {height} ({share(n, total)})" for (height, width), n in counts.most_common(SIZES)]
    rest = len(counts) - len(most)
    return ", ".join(most) + (f" and {rest} more; width x height" if rest > 0 else "; width x height")


def _annotated(findings: Findings, seen: SetFindings) -> dict[str, str]:
    """Classes that the set is not annotated for, or not exhaustively, where there are any."""
    rows = {}
    for key in dict.fromkeys(kind.classes_key for kind in kinds_of(findings.cfg.MTL.TASKS) if kind.classes_key):
        try:
            states = annotated_classes(seen.data_set.metadata, key)
        except DataError as error:
            rows[f"annotated ({key})"] = str(error)
            continue
        names = list(map(str, seen.data_set.metadata.get(key) or ()))
        for state, words in ((NOT_ANNOTATED, "not annotated"), (NOT_EXHAUSTIVE, "annotated in part")):
            ids = sorted(states.ids(state))
            if ids:
                rows[f"{words} ({key})"] = f"{len(ids)} of {len(names)} classes: {', '.join(names[i] for i in ids)}"
    return rows
