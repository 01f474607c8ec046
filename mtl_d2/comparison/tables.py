"""The tables of a comparison, as cells without any markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller

import pandas as pd

from mtl_d2.comparison.collect import COSINES, Collected, Row
from mtl_d2.comparison.notes import delta_gaps
from mtl_d2.comparison.spec import word
from mtl_d2.comparison.statistics import Summary, marks, summarize
from mtl_d2.engine.loop import spread_name
from mtl_d2.evaluation.delta import CONVENTIONS
from mtl_d2.report.markup import group_title
from mtl_d2.report.precision import UNDEFINED, is_percentage, precision_of

NONE = "–"
DECIMALS = 2  # of percentages
MARKS = (
    "Bold: the best; underlined: several of which nobody knows which is the best, since they are within one standard "
    "error of their difference."
)
SIZE = (
    "#P: parameters of the model, as a multiple of one single-task model's, the mean of the baselines': T of them "
    "together have #P = T."
)
MIB = 2.0**20


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: the value.
        error: its standard error, "" if there is none.
        mark: "best", "near" or "".
        shade: place between the worst (0) and the best (1) of the table, None for no colour.
    """

    text: str
    error: str = ""
    mark: str = ""
    shade: float | None = None

    @property
    def whole(self) -> str:
        """The value with its error."""
        return f"{self.text} ± {self.error}" if self.error else self.text


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: heading.
        cells: a `Cell` for each row and column, which are named by text.
        corner: what the names of the rows are.
        note: how to read it.
    """

    title: str
    cells: pd.DataFrame
    corner: str = "method"
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """One quantity of a row.

    Attributes:
        title: its heading.
        summary: its value.
        higher: whether higher is better; None: neither is.
        decimals: None for as many as fit the values.
        metric: its name, "" if it is none.
    """

    title: str
    summary: Callable[[Row], Summary]
    higher: bool | None
    decimals: int | None = None
    metric: str = ""


def measures(collected: Collected) -> list[Measure]:
    """The metrics, then Delta in each convention, where there is a base."""
    chosen = []
    for metric in collected.metrics:
        title = f"{metric_title(metric.name)} {_arrow(metric.higher)}"
        decimals = DECIMALS if is_percentage(metric.name) else None
        chosen.append(Measure(title, methodcaller("summary", metric.name), metric.higher, decimals, metric.name))
    counted = [metric.name for metric in collected.metrics if metric.task]
    if counted and all(name in collected.base for name in counted):
        for name in collected.comparison.conventions:
            kind = CONVENTIONS[name]
            title = " ".join(filter(None, ("Δ", name, kind.unit, _arrow(kind.higher))))
            chosen.append(Measure(title, partial(collected.delta, convention=name), kind.higher, DECIMALS))
    return chosen


def sizes(collected: Collected) -> list[Measure]:
    """#P, where the sizes of the single-task models are known."""
    single = collected.single_task_size
    if math.isnan(single):
        return []
    return [Measure("#P", lambda row: _exact(row, row.parameters / single), None, DECIMALS)]


def _exact(row: Row, value: float) -> Summary:
    """Of a number that is the same in all runs of a row, so that it has no error."""
    return Summary(value, math.nan, len(row.finished) if math.isfinite(value) else 0)


def metric_title(name: str) -> str:
    """A metric in words: `boxes AP`."""
    group, _, metric = name.rpartition("/")
    return f"{group_title(group)} {metric}" if group else metric


def main_table(collected: Collected) -> Table:
    """Metrics and Delta of every method."""
    size, chosen = sizes(collected), measures(collected)
    note = (
        "Mean ± standard error over the finished runs of each method, whose number is in the second column, or over "
        "fewer of them where a value says (of n): the others have none."
    )
    conventions = [f"Δ {name}: {CONVENTIONS[name].what}" for name in collected.comparison.conventions]
    if any(m.title.startswith("Δ") for m in chosen):
        note += f" Δ against {collected.base_name}; " + "; ".join(conventions) + "."
    note += f" {SIZE}" if size else ""
    note += f" {MARKS}"
    gaps = delta_gaps(collected) if any(m.title.startswith("Δ") for m in chosen) else []
    note += f" No Δ: {'; '.join(gaps)}." if gaps else ""
    runs = [record.run for row in collected.rows for record in row.finished]
    definitions = dict.fromkeys(pair for run in runs for pair in run.definitions.items())
    note += "".join(f" {group_title(group)}: {words}." for group, words in definitions)
    return Table("Results", _methods(collected, [*size, *chosen]), note=note)


def cost_table(collected: Collected) -> Table:
    """Time and memory of every method."""
    chosen = [
        Measure("seconds per update", lambda row: summarize(r.seconds_per_update for r in row.finished), False),
        Measure("minutes per run", lambda row: summarize(r.seconds / 60 for r in row.finished), False, 1),
        Measure(
            "peak memory, MiB",
            lambda row: summarize(r.outcome.memory / MIB or math.nan for r in row.finished),
            False,
            0,
        ),
    ]
    note = (
        "Seconds per update: median over a run, mean over runs; minutes: start and evaluation included; memory: "
        "resident, of the process. Runs that shared the machine with others are slower than alone."
    )
    return Table("Cost", _methods(collected, chosen), note=note)


def cosine_table(collected: Collected) -> Table | None:
    """Mean and standard deviation of the cosines over training; None if none was logged."""
    pairs = sorted({n for row in collected.rows for r in row.finished for n in r.metrics if n.startswith(COSINES)})
    if not pairs:
        return None
    chosen = []
    for name in pairs:
        pair = name.removeprefix("cosine/").replace("cosine_level/", "level, ")
        chosen.append(Measure(f"{pair}: mean", methodcaller("summary", name), None, 3))
        chosen.append(Measure(f"{pair}: σ", methodcaller("summary", spread_name(name)), None, 3))
    note = "Cosine between two gradients of all shared parameters (level: those of MTL.GRADIENT.LEVEL), in the logged "
    note += "updates of a training. – : not logged."
    return Table("Cosines between gradients", _methods(collected, chosen).drop(columns="runs"), note=note)


def grid_tables(collected: Collected) -> list[Table]:
    """For each grid over two keys, a table of each measure with a row and a column for each value of a key."""
    grids: dict[str, list[Row]] = {}
    for row in collected.rows:
        if len(row.entry.cell) == 2:
            grids.setdefault(row.entry.grid, []).append(row)
    return [_grid(name, rows, measure) for name, rows in grids.items() for measure in measures(collected)]


def _methods(collected: Collected, chosen: Sequence[Measure]) -> pd.DataFrame:
    """A row of cells for each method: how many of its runs count, then each measure."""
    columns = [[Cell(row.counted) for row in collected.rows], *(_column(collected.rows, measure) for measure in chosen)]
    cells = pd.DataFrame(columns, index=["runs", *(measure.title for measure in chosen)]).T
    return cells.set_axis([row.entry.name for row in collected.rows])


def _grid(name: str, rows: Sequence[Row], measure: Measure) -> Table:
    (down, _), (across, _) = rows[0].entry.cell
    cells: dict[str, dict[str, Cell]] = {}  # value of the second key -> of the first
    for row, cell in zip(rows, _column(rows, measure, shaded=True), strict=True):
        first, second = (word(value) for _, value in row.entry.cell)
        cells.setdefault(second, {})[first] = cell
    corner = " \\ ".join(key.rpartition(".")[2] for key in (down, across))
    note = f"Rows: {down}; columns: {across}; (of n): the other runs failed."
    return Table(f"{name}: {measure.title}", pd.DataFrame(cells), corner, note)


def _column(rows: Sequence[Row], measure: Measure, shaded: bool = False) -> list[Cell]:
    summaries = [measure.summary(row) for row in rows]
    precision = precision_of((s.mean for s in summaries), measure.decimals)
    texts = [precision(s.mean) for s in summaries]
    signs = marks(summaries, texts, measure.higher) if measure.higher is not None else ["" for _ in rows]
    shades = _shades(summaries, measure.higher) if shaded else [None for _ in rows]
    cells = []
    for row, s, text, sign, shade in zip(rows, summaries, texts, signs, shades, strict=True):
        error = "" if math.isnan(s.error) else precision(s.error)
        cells.append(Cell(text + _few(row, s, shaded), error, sign, shade) if s.count else Cell(_nothing(row, measure)))
    return cells


def _few(row: Row, summary: Summary, shaded: bool) -> str:
    """How many runs a value is of, where the column of runs does not say it; grids, which have shades, have none."""
    told = row.records if shaded else row.finished
    return f" (of {summary.count})" if summary.count < len(told) else ""


def _nothing(row: Row, measure: Measure) -> str:
    """What stands for a value that no run has: the runs' state where none is finished, `nan` where it is no number."""
    if any(measure.metric in record.metrics for record in row.finished):
        return UNDEFINED
    states = {record.outcome.state for record in row.records}
    return NONE if row.finished or len(states) != 1 else states.pop()


def _shades(summaries: Sequence[Summary], higher: bool | None) -> list[float | None]:
    """Each mean's place between the worst (0) and the best (1)."""
    goodness = pd.Series([s.mean for s in summaries]) * (-1 if higher is False else 1)
    span = goodness.max() - goodness.min()
    shades = (goodness - goodness.min()) / (span or 1.0)
    return [None if math.isnan(shade) else float(shade) for shade in shades]


def _arrow(higher: bool) -> str:
    return "↑" if higher else "↓"
