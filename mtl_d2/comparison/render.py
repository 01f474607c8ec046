"""Tables as Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape

import pandas as pd

from mtl_d2.comparison.collect import Collected
from mtl_d2.comparison.search_table import search_columns
from mtl_d2.comparison.tables import Cell, Table, measures, sizes
from mtl_d2.report import markup

# How the best of a column, and those of which nobody knows it, are shown.
MARKDOWN = {"best": "**{}**", "near": "*{}*"}
LATEX = {"best": r"\textbf{{{}}}", "near": r"\underline{{{}}}"}
HTML = {"best": "<b>{}</b>", "near": "<u>{}</u>"}
TEX = str.maketrans({
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "Δ": r"$\Delta$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "σ": r"$\sigma$", "–": "--", "<": "$<$", ">": "$>$",
})  # fmt: skip


def markdown(tables: Sequence[Table], title: str, notes: Sequence[str]) -> str:
    """A page of tables."""
    parts = [f"# {title}"]
    for table in tables:
        cells = table.cells.map(lambda cell: _marked(cell, MARKDOWN, _piped)).rename(index=_piped, columns=_piped)
        aligned = ("left", *("right" for _ in cells.columns))
        cells = cells.rename_axis(index=table.corner)
        parts += [f"## {table.title}", cells.to_markdown(disable_numparse=True, colalign=aligned)]
        parts += [table.note] if table.note else []
    if notes:
        parts.append("Runs that do not count, and other remarks:\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """A `table` for each, for a document that uses `booktabs`."""
    parts = []
    for table in tables:
        cells = table.cells.map(lambda cell: _marked(cell, LATEX, _tex)).rename(index=_tex)
        cells = cells.reset_index(names=table.corner).rename(columns=_tex)
        parts.append(
            cells.style.hide(axis="index").to_latex(
                hrules=True,
                position_float="centering",
                caption=_tex(f"{table.title}. {table.note}".strip()),
                column_format="l" + "r" * len(table.cells.columns),
            )
        )
    return "\n".join([*parts, *(f"% {' '.join(note.split())}" for note in notes)]) + "\n"


def html(table: Table) -> str:
    """A table of the page; its colours follow the page's."""
    note = markup.paragraph(table.note) if table.note else ""
    return markup.table(table.cells.map(_shaded), corner=table.corner) + note


def methods_csv(collected: Collected) -> str:
    """A line for each method: mean, standard error and number of runs of each measure."""
    lines = []
    for row in collected.rows:
        line = {"method": row.entry.name, "runs": len(row.records), "finished": len(row.finished)}
        line |= {measure.title: measure.summary(row).mean for measure in sizes(collected)}
        for measure in measures(collected):
            summary = measure.summary(row)
            line[measure.title] = summary.mean
            line[f"{measure.title} standard error"] = summary.error
            line[f"{measure.title} runs"] = summary.count
        lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False)


def runs_csv(collected: Collected) -> str:
    """A line for each run, with all of its metrics."""
    lines = [
        {
            "method": row.entry.name,
            "seed": record.seed,
            "state": record.outcome.state,
            "reason": record.outcome.reason,
            "seconds_per_update": record.seconds_per_update,
            "seconds": record.seconds,
            "memory_bytes": str(record.outcome.memory or ""),
            "parameters": str(record.run.parameters or ""),
            **search_columns(collected.searches.get(row.entry.name)),
            **{name: repr(float(value)) for name, value in record.metrics.items()},  # nan is not nothing
            "folder": record.run.folder,
        }
        for row in collected.rows
        for record in row.records
    ]
    table = pd.DataFrame(lines)
    return table[[*table.columns.drop("folder"), "folder"]].to_csv(index=False)


def _piped(text: str) -> str:
    return text.replace("|", r"\|")


def _tex(text: str) -> str:
    return text.translate(TEX)


def _marked(cell: Cell, marks: Mapping[str, str], escaped: Callable[[str], str]) -> str:
    detail = f" {escaped(cell.detail)}" if cell.detail else ""
    return marks.get(cell.mark, "{}").format(escaped(cell.whole)) + detail


def _shaded(cell: Cell) -> str:
    text = _marked(replace(cell, detail=""), HTML, escape)
    text += f"<br><small>{escape(cell.detail)}</small>" if cell.detail else ""
    return text if cell.shade is None else f'<span class="shade" style="--s:{cell.shade:.2f}">{text}</span>'
