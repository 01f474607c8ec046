"""Classes of whole images."""

from __future__ import annotations

from collections import Counter

from mtl_d2.inspection.labels.base import Inspector, Labels, Summary, inspector, listed_names, share
from mtl_d2.inspection.labels.object_page import fold_long, shaded
from mtl_d2.tasks.classification import Classification


@inspector.register(Classification)
class ClassInspector(Inspector):
    """Of tasks whose label is a class id."""

    def summary(self, labels: Labels) -> Summary:
        """See ``Inspector``."""
        counts = Counter(int(record[labels.kind.record_key]) for record in labels.records)
        total, most = sum(counts.values()), max(counts.values(), default=1)
        names = labels.names
        rows = {}
        for i in range(max(len(names), max(counts, default=-1) + 1)):
            name = names[i] if i < len(names) else f"id {i}"
            rows[name] = [shaded(str(counts[i]), counts[i] / most), share(counts[i], total)]
        summary = Summary(fold_long(rows, ["images", "share"], "class", f"{len(rows)} classes"))
        never = [name for i, name in enumerate(names) if not counts[i]]
        if never and labels.is_trained_on:
            summary.suspicious.append(f"no image has the class {listed_names(never)} of {labels.kind.task}")
        return summary
