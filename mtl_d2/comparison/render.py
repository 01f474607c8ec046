"""Tables as Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from html import escape

from mtl_d2.comparison.collect import Collected
from mtl_d2.comparison.tables import Cell, Table, measures
from mtl_d2.report import markup

_TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "σ": r"$\sigma$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}


def markdown(tables: Sequence[Table], title: str, notes: Sequence[str]) -> str:
    """A page of tables."""
    parts = [f"# {title}"]
    for table in tables:
        rule = ["---", *["---:"] * (len(table.head) - 1)]
        lines = [table.head, rule, *([_marked(cell, "**", "*") for cell in row] for row in table.rows)]
        parts += [f"## {table.title}", "\n".join(_piped(line) for line in lines)]
        parts += [table.note] if table.note else []
    if notes:
        parts.append("Runs that do not count, and other remarks:\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """A `table` for each, for a document that uses `booktabs`."""
    parts = []
    for table in tables:
        lines = [" & ".join(_tex(name) for name in table.head) + r" \\", r"\midrule"]
        lines += [" & ".join(_tex_cell(cell) for cell in row) + r" \\" for row in table.rows]
        body = "\n".join([r"\toprule", *lines, r"\bottomrule"])
        caption = _tex(f"{table.title}. {table.note}".strip())
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n"
            f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n"
        )
    return "\n".join([*parts, *(f"% {' '.join(note.split())}" for note in notes)]) + "\n"


def html(table: Table) -> str:
    """A table of the page; its colours follow the page's."""
    rows = [[_html_cell(cell) for cell in row] for row in table.rows]
    note = markup.paragraph(table.note) if table.note else ""
    return markup.table(table.head, rows) + note


def methods_csv(collected: Collected) -> str:
    """A line for each method: mean, standard error and number of runs of each measure."""
    chosen = measures(collected)
    head = [f"{m.title}{part}" for m in chosen for part in ("", " standard error", " runs")]
    lines = [["method", "runs", "finished", *head]]
    for row in collected.rows:
        summaries = [measure.summary(row) for measure in chosen]
        cells = [part for s in summaries for part in (_plain(s.mean), _plain(s.error), str(s.count))]
        lines.append([row.entry.name, str(len(row.records)), str(len(row.finished)), *cells])
    return _csv(lines)


def runs_csv(collected: Collected) -> str:
    """A line for each run, with all of its metrics."""
    records = [(row, record) for row in collected.rows for record in row.records]
    names = list(dict.fromkeys(name for _, record in records for name in record.metrics))
    lines = [["method", "seed", "state", "reason", "seconds_per_update", "seconds", "memory_bytes", *names, "folder"]]
    for row, record in records:
        cost = [_plain(record.seconds_per_update), _plain(record.seconds), str(record.outcome.memory or "")]
        values = [repr(float(record.metrics[name])) if name in record.metrics else "" for name in names]
        state = [record.outcome.state, record.outcome.reason]
        lines.append([row.entry.name, record.seed, *state, *cost, *values, str(record.run.folder)])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _whole(cell: Cell) -> str:
    return f"{cell.text} ± {cell.error}" if cell.error else cell.text


def _marked(cell: Cell, best: str, near: str) -> str:
    around = {"best": best, "near": near}.get(cell.mark, "")
    return f"{around}{_whole(cell).replace('|', chr(92) + '|')}{around}"


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def _tex_cell(cell: Cell) -> str:
    kind = {"best": "\\textbf{%s}", "near": "\\underline{%s}"}.get(cell.mark, "%s")
    return kind % _tex(_whole(cell))


def _html_cell(cell: Cell) -> str:
    text = escape(_whole(cell))
    kind = {"best": "<b>{}</b>", "near": "<u>{}</u>"}.get(cell.mark, "{}")
    shade = "" if cell.shade is None else f' class="shade" style="--s:{cell.shade:.2f}"'
    return f"<span{shade}>{kind.format(text)}</span>" if shade else kind.format(text)
