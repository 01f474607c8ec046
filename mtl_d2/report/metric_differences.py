"""Metrics of two runs beside each other, with their differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from mtl_d2.report.markup import folded, group_title, table
from mtl_d2.report.precision import higher_is_better
from mtl_d2.report.run import Groups
from mtl_d2.report.tables import metric_columns, metric_texts

NONE = "–"


def difference_tables(one: Groups, other: Groups, names: Sequence[str]) -> str:
    """A table for each group of metrics, with those of single classes folded below; empty where there are none.

    Args:
        one: metrics of the first run.
        other: of the second.
        names: of both, text.
    """
    parts = []
    for per_class in (False, True):
        groups: dict[str, list[str]] = {}
        for group, metric in metric_columns((one, other), per_class=per_class):
            groups.setdefault(group, []).append(metric)
        tables = "".join(_table(one, other, group, metrics, names) for group, metrics in groups.items())
        shown = f'<div class="tables">{tables}</div>' if tables else ""
        parts.append(folded("Metrics of each class", shown) if per_class and shown else shown)
    return "".join(parts)


def _table(one: Groups, other: Groups, group: str, metrics: Sequence[str], names: Sequence[str]) -> str:
    cells = [_cells(one, other, group, metric) for metric in metrics]
    return table(pd.DataFrame(cells, index=list(metrics), columns=[*names, "difference"]), corner=group_title(group))


def _cells(one: Groups, other: Groups, group: str, metric: str) -> tuple[str, str, str]:
    given = [groups.get(group, {}).get(metric) for groups in (one, other)]
    values = [math.nan if value is None else value for value in given]
    texts = metric_texts(group, metric, [*values, values[0] - values[1]])
    shown = [NONE if value is None else text for value, text in zip(given, texts, strict=False)]
    difference = values[0] - values[1]
    if not math.isfinite(difference):
        return shown[0], shown[1], NONE
    signed = texts[2] if texts[2].startswith("-") else f"+{texts[2]}"
    higher = higher_is_better(f"{group}/{metric}")
    better = higher is not None and texts[0] != texts[1] and (difference > 0) == higher
    return shown[0], shown[1], f"<b>{signed}</b>" if better else signed
