"""The few HTML pieces that every section is made of. Whatever comes from a file goes through `escape`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from mtl_d2.evaluation.variants import as_plain, variant_of
from mtl_d2.report.palette_of_curves import COLORS, dash_lengths

GROUP_TITLES = {"bbox": "boxes", "segm": "masks", "sem_seg": "segmentation"}


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its id, for the links at the top.
        title: its heading, text.
        body: HTML.
    """

    anchor: str
    title: str
    body: str


def group_title(group: str) -> str:
    """A group of metrics in words, as text: `my_set/bbox`, `bbox@my_set`: `my_set boxes`; `bbox_EMA`: `boxes (EMA)`."""
    path, _, last = group.rpartition("/")
    suffix = variant_of(last)
    kind, _, data_set = (as_plain(last) if suffix else last).partition("@")
    variant = f"({suffix[1:]})" if suffix else ""
    return " ".join(filter(None, (path, data_set, GROUP_TITLES.get(kind, kind), variant)))


def figure(title: str, chart: str, caption: str = "", legend: Iterable[str] = ()) -> str:
    """A chart, which a click enlarges, with its heading, legend and reading instruction.

    Args:
        title: text.
        chart: HTML.
        caption: text, one plain sentence that says how to read it; empty where its group has one.
        legend: names in the order of the colours; none for a figure whose title says it.
    """
    names = "".join(f"<span>{_line(i)}{escape(name)}</span>" for i, name in enumerate(legend))
    keys = f'<div class="legend">{names}</div>' if names else ""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    enlarge = f'<input type="checkbox" aria-label="enlarge {escape(title)}">'
    return f'<figure><h3>{escape(title)}</h3><label class="chart">{enlarge}{chart}</label>{keys}{below}</figure>'


def _line(index: int) -> str:
    """A piece of the curve with this place."""
    lengths = " ".join(f"{length:g}" for length in dash_lengths(index))
    dashes = f' stroke-dasharray="{lengths}"' if lengths else ""
    stroke = f'stroke="var(--c{index % len(COLORS)})" stroke-width="3"{dashes}'
    return f'<svg viewBox="0 0 24 4" aria-hidden="true"><path d="M0 2H24" {stroke}/></svg>'


def grid(figures: Iterable[str]) -> str:
    """Figures beside each other where there is room."""
    return f'<div class="grid">{"".join(figures)}</div>'


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>"


def missing(text: str) -> str:
    """A sentence that says what is not there, and why."""
    return f'<p class="missing">{escape(text)}</p>'


def listed(lines: Sequence[str], *, warning: bool) -> str:
    """Sentences in a box, one below the other; nothing where there is none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{"warnings" if warning else "notes"}">{items}</ul>' if items else ""


def folded(summary: str, body: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def table(cells: pd.DataFrame, *, corner: str = "", numeric: bool = True) -> str:
    """A table that scrolls sideways where it is too wide.

    Args:
        cells: HTML; the names of its rows and columns are text.
        corner: text above the names of the rows.
        numeric: align the cells right; text without heads of columns has none.
    """
    named = cells.rename(index=escape, columns=escape).rename_axis(index=None, columns=escape(corner))
    kind, head = ("numeric", True) if numeric else ("text", bool(corner))
    html = named.to_html(escape=False, border=0, classes=kind, justify="unset", header=head)
    return f'<div class="scroll">{html}</div>'
