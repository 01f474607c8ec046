"""The page as Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import stdev

import pandas as pd

from mtl_d2.comparison.statistics import summarize
from mtl_d2.comparison.tables import DECIMALS, MIB, NONE, metric_title
from mtl_d2.evaluation.delta import Metric
from mtl_d2.report.coverage import remarks
from mtl_d2.report.markup import group_title
from mtl_d2.report.precision import is_percentage, precision_of
from mtl_d2.zoo.section import LeftOut, Row, Section, Trained
from mtl_d2.zoo.words import quoted

DIGITS = 16  # of a digest that are shown
_REMARK = re.compile(r"\s{2,}\((.*)\)$")  # behind a command in the head of a file
HEAD = """# Model zoo

What finished trainings came to, and how to make their weights, which are not in the repository. Made by

```sh
{command}
```

which reads the folders that trainings and comparisons leave, and with `--check` says whether this page is what they
give. Metrics are means ± sample deviations (n - 1) over the seeds; seconds per update are medians of a run's log, means
over seeds, on the machine that is named, which other work may have shared. A digest is the beginning of the sha256 of
`model_final.pth`, optimizer included. With another version of this code or of PyTorch, or on another machine, figures
and digests are others; the deviations say how far seeds alone move the figures.
"""


def page(sections: Sequence[Section], left_out: LeftOut, command: Sequence[str]) -> str:
    """The whole page.

    Args:
        sections: in their order.
        left_out: the runs that are not in them.
        command: words that make the page.
    """
    parts = [HEAD.format(command=quoted(command)).strip()]
    parts += [_contents(sections), *map(_section, sections)]
    if left_out.reasons:
        lines = [f"- `{name}`: {reason}" for name, reason in sorted(left_out.reasons.items())]
        parts += ["## Left out", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _contents(sections: Sequence[Section]) -> str:
    cells = {
        "section": [f"[{section.title}](#{_anchor(section.title)})" for section in sections],
        "data": [", ".join(dict.fromkeys(name for run in _runs(s) for name in _sets(run, "TRAIN"))) for s in sections],
        "configs": [str(len(section.rows)) for section in sections],
        "trainings": [str(len(_runs(section))) for section in sections],
    }
    return _table(pd.DataFrame(cells).set_index("section"))


def _anchor(title: str) -> str:
    """Of a heading, as code hosts make them."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _section(section: Section) -> str:
    parts = [f"## {section.title}"]
    prose = [line for line in section.about if not _is_command(line)]
    if prose:
        parts.append(_escaped(" ".join(prose)))
    parts.append("\n".join(["```sh", *_commands(section), "```"]))
    if section.single:
        parts.append(f"One of them alone: `{section.single} SEED 1 OUTPUT_DIR output/zoo`, and what its row says.")
    parts += [_facts(section), _table(_results(section)), _notes(section), _table(_costs(section))]
    return "\n\n".join(filter(None, parts))


def _commands(section: Section) -> list[str]:
    """What the head of the file says to be typed; the command that starts it with what these runs had besides."""
    told = [_REMARK.sub(r"  # \1", line) for line in section.about if _is_command(line)]
    typed = next((line for line in told if section.started in line), section.started)
    command, mark, remark = typed.partition("  # ")
    words = [section.extra] if section.single else [row.words for row in section.rows]
    own = [f"{command} {quoted(more)}".strip() + mark + remark for more in words]
    return [*(line for line in told if line != typed), *own]


def _is_command(line: str) -> bool:
    return any(word.startswith(("tools/", "python", "pip ")) for word in line.split()[:3])


def _facts(section: Section) -> str:
    """Data and machine of all runs, a line each."""
    images = {name: count for run in _runs(section) for name, count in run.images.items()}
    lines = []
    for role, word in (("TRAIN", "Trained on"), ("TEST", "evaluated on")):
        names = dict.fromkeys(name for run in _runs(section) for name in _sets(run, role))
        told = [f"`{name}` ({images[name]} images)" if name in images else f"`{name}`" for name in names]
        lines.append(f"{word} {', '.join(told) or 'nothing'}")
    machines = dict.fromkeys(run.log.machine for run in _runs(section) if run.log.machine)
    return f"{', '.join(lines)}. Machine: {'; '.join(machines) or 'not recorded'}."


def _results(section: Section) -> pd.DataFrame:
    rows = section.rows
    columns = {
        "tasks": [_same(row, lambda run: ", ".join(run.run.setting("MTL.TASKS", ()))) for row in rows],
        "updates × images": [_same(row, _updates) for row in rows],
        "seeds": [", ".join(run.record.seed for run in row.runs) for row in rows],
    }
    columns |= {_title(metric): _means(rows, metric) for metric in section.metrics}
    return pd.DataFrame(columns, index=pd.Index([row.name or NONE for row in rows], name="config"))


def _costs(section: Section) -> pd.DataFrame:
    rows = section.rows
    memory = [summarize(run.record.outcome.memory / MIB or math.nan for run in row.runs).mean for row in rows]
    columns = {
        "what it changes": [f"`{quoted(row.words)}`" if row.words else NONE for row in rows],
        "parameters": [
            _same(row, lambda run: f"{run.run.parameters:,}" if run.run.parameters else NONE) for row in rows
        ],
        "s per update": [_seconds(row) for row in rows],
        "peak memory, MiB": [NONE if math.isnan(value) else f"{value:.0f}" for value in memory],
        "sha256 of the weights, by seed": [
            "<br>".join(f"{run.record.seed}: `{run.weights.sha256[:DIGITS]}`" for run in row.runs) for row in rows
        ],
    }
    if all(value == NONE for value in columns["peak memory, MiB"]):
        del columns["peak memory, MiB"]
    return pd.DataFrame(columns, index=pd.Index([row.name or NONE for row in rows], name="config"))


def _seconds(row: Row) -> str:
    mean = summarize(run.record.seconds_per_update for run in row.runs).mean
    return NONE if math.isnan(mean) else f"{mean:.3g}"


def _updates(run: Trained) -> str:
    return f"{run.run.setting('SOLVER.MAX_ITER')} × {run.run.setting('SOLVER.IMS_PER_BATCH')}"


def _title(metric: Metric) -> str:
    return f"{metric_title(metric.name)} {'↑' if metric.higher else '↓'}"


def _means(rows: Sequence[Row], metric: Metric) -> list[str]:
    """Mean ± sample deviation of each row; how many runs have a value where some have none."""
    values = [[run.record.metrics.get(metric.name, math.nan) for run in row.runs] for row in rows]
    finite = [[value for value in of_row if math.isfinite(value)] for of_row in values]
    summaries = [summarize(of_row) for of_row in values]
    precision = precision_of((s.mean for s in summaries), DECIMALS if is_percentage(metric.name) else None)
    texts = []
    for of_row, summary, all_of_row in zip(finite, summaries, values, strict=True):
        deviation = f" ± {precision(stdev(of_row))}" if len(of_row) > 1 else ""
        few = f" (of {len(of_row)})" if len(of_row) < len(all_of_row) else ""
        texts.append(f"{precision(summary.mean)}{deviation}{few}" if of_row else NONE)
    return texts


def _notes(section: Section) -> str:
    definitions = dict.fromkeys(pair for run in _runs(section) for pair in run.run.definitions.items())
    lines = [f"{group_title(group)}: {words}." for group, words in definitions]
    lines += section.remarks
    lines += dict.fromkeys(line for run in _runs(section) for line in remarks(run.run))
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _same(row: Row, told: Callable[[Trained], str]) -> str:
    """What all runs of a row say; each once, if they differ."""
    return "; ".join(dict.fromkeys(map(told, row.runs)))


def _runs(section: Section) -> list[Trained]:
    return [run for row in section.rows for run in row.runs]


def _sets(run: Trained, role: str) -> Iterable[str]:
    return run.run.setting(f"DATASETS.{role}") or ()


def _table(cells: pd.DataFrame) -> str:
    escaped = cells.map(_escaped).rename(index=_escaped, columns=_escaped)
    return str(escaped.to_markdown(disable_numparse=True))


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")
