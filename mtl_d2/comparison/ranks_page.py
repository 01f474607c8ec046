"""The page, tables and figure of ranks over several data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import pandas as pd

from mtl_d2.comparison.critical_difference import caption, chart, diagram
from mtl_d2.comparison.data_sets import BY_METRICS
from mtl_d2.comparison.ranks import Ranking
from mtl_d2.comparison.render import html, latex, markdown
from mtl_d2.comparison.significance import LEVEL
from mtl_d2.comparison.tables import Cell, Table
from mtl_d2.evaluation.delta import CONVENTIONS
from mtl_d2.files import write_atomically
from mtl_d2.report.markup import Section, listed
from mtl_d2.report.page import document

TITLE = "Ranks over data sets"
PAGE = "ranks.html"
WIDEST = 620  # pixels of the diagram on the page


def write_ranks(folder: Path, ranking: Ranking, by: str, notes: Sequence[str], kind: str = "png") -> Path:
    """Writes ``ranks.html``, ``.md``, ``.tex``, ``.csv`` and ``critical_difference``.

    Args:
        folder: is made.
        ranking: what is shown.
        by: what methods were ranked by, as in ``rank_all``.
        notes: what a reader must know of it.
        kind: of the figure's file: "png", "pdf" or "svg".

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = rank_table(ranking, by)
    whole = replace(table, note=f"{verdict(ranking)} {table.note}")  # the page has it at its top
    diagram(ranking).save(folder, kind)
    write_atomically(folder / "ranks.md", markdown([whole], TITLE, notes))
    write_atomically(folder / "ranks.tex", latex([whole], notes))
    write_atomically(folder / "ranks.csv", ranks_csv(ranking))
    drawn = f'<figure style="max-width:{WIDEST}px">{chart(ranking)}<figcaption>{escape(caption(ranking))}</figcaption>'
    head = f'<p class="summary">{escape(verdict(ranking))}</p>{listed(notes, warning=True)}'
    sections = [Section("diagram", "Mean ranks", f"{drawn}</figure>"), Section("ranks", "Ranks", html(table))]
    return write_atomically(folder / PAGE, document(TITLE, head, sections))


def verdict(ranking: Ranking) -> str:
    """What Friedman's test says, in a sentence."""
    statistic, p = ranking.friedman
    test = f"Friedman's test over {len(ranking.data_sets)} data sets: χ² = {statistic:.2f}, p = {p:.2g}"
    if not ranking.differ:
        return f"{len(ranking.methods)} methods are not told apart. {test}, not below {LEVEL:g}."
    return (
        f"{len(ranking.methods)} methods are not all equal. {test}. Two differ where their mean ranks are at least "
        f"{ranking.critical:.2f} apart (Nemenyi's critical difference at {LEVEL:g})."
    )


def rank_table(ranking: Ranking, by: str) -> Table:
    """A row for each method: mean rank, and its rank on each data set."""
    columns = [
        [Cell(f"{mean:.2f}", mark=mark) for mean, mark in zip(ranking.means, ranking.marks, strict=True)],
        *([Cell(f"{rank:g}") for rank in row] for row in ranking.ranks),
    ]
    cells = pd.DataFrame(columns, index=["mean rank", *ranking.data_sets]).T.set_axis(list(ranking.methods))
    what = "their mean rank over metrics and tasks" if by == BY_METRICS else f"Δ {by}, {CONVENTIONS[by].what}"
    note = (
        f"1 = the best by {what}, mean over the finished runs; equal methods share the mean of their ranks. "
        "Bold: apart from all others; underlined: not told from the best. Where nothing is marked, "
        "no method is told from the best."
    )
    return Table("Ranks", cells, note=note)


def ranks_csv(ranking: Ranking) -> str:
    """A line for each method, not rounded."""
    columns = {"mean rank": ranking.means, **dict(zip(ranking.data_sets, ranking.ranks, strict=True))}
    return pd.DataFrame(columns, index=pd.Index(ranking.methods, name="method")).to_csv()
