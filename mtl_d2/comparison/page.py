"""Everything that a comparison leaves for people: one page, and its tables for papers and other programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.comparison.curves import curve_sections
from mtl_d2.comparison.differences import difference_table, differences_csv
from mtl_d2.comparison.render import html, latex, markdown, methods_csv, runs_csv
from mtl_d2.comparison.search_table import search_table
from mtl_d2.comparison.tables import NONE, Table, cosine_table, cost_table, grid_tables, main_table
from mtl_d2.files import write_atomically
from mtl_d2.report.markup import Section, folded, listed, table
from mtl_d2.report.page import document
from mtl_d2.report.settings import method_of

PAGE = "comparison.html"


def write_tables(collected: Collected, notes: Sequence[str] = ()) -> Path:
    """Writes `comparison.html`, `.md`, `.tex`, `.csv`, `differences.csv` and `runs.csv` into the comparison's folder.

    Args:
        collected: the runs.
        notes: remarks besides those that follow from the runs.

    Returns:
        The page's path.
    """
    output, title = collected.comparison.output, collected.comparison.title
    output.mkdir(parents=True, exist_ok=True)
    remarks = [*notes, *collected.notes]
    main, cost, grids = main_table(collected), cost_table(collected), grid_tables(collected)
    gaps, cosines = list(filter(None, [difference_table(collected)])), list(filter(None, [cosine_table(collected)]))
    searches = [search_table(name, record) for name, record in collected.searches.items()]
    tables = [main, *gaps, *grids, *searches, cost, *cosines]
    write_atomically(output / "comparison.md", markdown(tables, title, remarks))
    write_atomically(output / "comparison.tex", latex(tables, remarks))
    write_atomically(output / "comparison.csv", methods_csv(collected))
    write_atomically(output / "differences.csv", differences_csv(collected))
    write_atomically(output / "runs.csv", runs_csv(collected))
    sections = [_section("results", "Results", [main])]
    sections += [_section("differences", gap.title, [gap]) for gap in gaps]
    sections += [_section("grids", "Parameter grids", grids)] if grids else []
    title_of_searches = searches[0].title if len(searches) == 1 else "Searches"
    sections += [_section("searches", title_of_searches, searches)] if searches else []
    sections += [*curve_sections(collected), _section("cost", "Cost", [cost])]
    sections += [_section("spread", "Mean and spread of the cosines", cosines)] if cosines else []
    sections.append(_runs(collected))
    return write_atomically(output / PAGE, document(title, _head(collected, remarks), sections))


def _section(anchor: str, title: str, tables: Sequence[Table]) -> Section:
    heads = len(tables) > 1
    body = "".join((f"<h3>{escape(table.title)}</h3>" if heads else "") + html(table) for table in tables)
    return Section(anchor, title, body)


def _head(collected: Collected, notes: Sequence[str]) -> str:
    finished = sum(len(row.finished) for row in collected.rows)
    planned = sum(len(row.records) for row in collected.rows)
    line = f"{len(collected.rows)} methods, {finished} of {planned} runs finished."
    return f'<p class="summary">{escape(line)}</p>{listed(notes, warning=True)}'


def _methods(row: Row) -> str:
    """What the runs of a row were, by their configs, whatever the row is called."""
    return "; ".join(dict.fromkeys(filter(None, (method_of(record.run) for record in row.records)))) or NONE


def _overrides(pairs: Sequence[tuple[str, Any]]) -> str:
    return " ".join(shlex.quote(f"{key}={value}") for key, value in pairs)


def _runs(collected: Collected) -> Section:
    """Where each run is, and what makes each method."""
    folders = [
        (row.entry.name, record.seed, record.outcome.state, str(record.run.folder))
        for row in collected.rows
        for record in row.records
    ]
    settings = [(row.entry.name, _methods(row), _overrides(row.entry.overrides) or NONE) for row in collected.rows]
    body = _texts(settings, ("name", "method by its config", "what it changes"))
    if collected.comparison.base:
        common = _overrides(collected.comparison.overrides)
        body += f"<p>All runs: {escape(str(collected.comparison.base))} {escape(common)}</p>"
    body += folded("Folders of the runs", _texts(folders, ("method", "seed", "state", "folder")))
    return Section("runs", "Runs", body)


def _texts(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """A table of texts, whose first column names its rows."""
    cells = pd.DataFrame(rows, columns=list(head)).set_index(head[0])
    return table(cells.map(escape), corner=head[0], numeric=False)
