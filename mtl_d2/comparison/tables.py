"""The tables of a comparison, as cells without any markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from mtl_d2.comparison.collect import COSINES, Collected, Record, Row
from mtl_d2.comparison.notes import delta_gaps
from mtl_d2.comparison.significance import FEWEST, LEVEL, marks
from mtl_d2.comparison.spec import word
from mtl_d2.comparison.statistics import Summary, summarize
from mtl_d2.engine.loop import spread_name
from mtl_d2.evaluation.delta import CONVENTIONS
from mtl_d2.report.markup import group_title
from mtl_d2.report.precision import UNDEFINED, is_percentage, precision_of

NONE = "–"
DECIMALS = 2  # of percentages
MARKS = (
    f"Bold: better than every other method by a t test paired over at least {FEWEST} common seeds (p < {LEVEL:g} after "
    "Holm's correction); underlined: not told from the best by it. Where nothing is marked, no method is told from the "
    "best."
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
        mark: "best" (bold), "near" (underlined) or "".
        shade: place between the worst (0) and the best (1) of the table, None for no colour.
        detail: what follows the value, never marked; below it and smaller on a page.
    """

    text: str
    error: str = ""
    mark: str = ""
    shade: float | None = None
    detail: str = ""

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
        value: of a finished run; NaN if it has none.
        higher: whether higher is better; None: neither is.
        decimals: None for as many as fit the values.
        metric: its name, "" if it is none.
    """

    title: str
    value: Callable[[Record], float]
    higher: bool | None
    decimals: int | None = None
    metric: str = ""

    def summary(self, row: Row) -> Summary:
        """Over the finished runs."""
        return summarize(self.value(record) for record in row.finished)

    def by_seed(self, row: Row) -> Mapping[str, float]:
        """The values of the runs that can be paired with those of another row."""
        return {seed: self.value(record) for seed, record in row.by_seed.items()}


@dataclass(frozen=True)
class Exact(Measure):
    """A quantity that is the same in all runs of a row, so that it has no error."""

    def summary(self, row: Row) -> Summary:
        """The mean of the runs that say it, told of all of them."""
        mean = super().summary(row).mean
        return Summary(mean, math.nan, len(row.finished) if math.isfinite(mean) else 0)


def measures(collected: Collected) -> list[Measure]:
    """The metrics, then Delta in each convention, where there is a base."""
    chosen = []
    for metric in collected.metrics:
        title = f"{metric_title(metric.name)} {_arrow(metric.higher)}"
        decimals = DECIMALS if is_percentage(metric.name) else None
        chosen.append(Measure(title, _metric(metric.name), metric.higher, decimals, metric.name))
    counted = [metric.name for metric in collected.metrics if metric.task]
    if counted and all(name in collected.base for name in counted):
        for name in collected.comparison.conventions:
            kind = CONVENTIONS[name]
            title = " ".join(filter(None, ("Δ", name, kind.unit, _arrow(kind.higher))))
            chosen.append(Measure(title, partial(collected.run_delta, convention=name), kind.higher, DECIMALS))
    return chosen


def _metric(name: str) -> Callable[[Record], float]:
    return lambda record: record.metrics.get(name, math.nan)


def sizes(collected: Collected) -> list[Measure]:
    """#P, where the sizes of the single-task models are known."""
    single = collected.single_task_size
    if math.isnan(single):
        return []
    return [Exact("#P", lambda record: (record.run.parameters or math.nan) / single, None, DECIMALS)]


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
        Measure("seconds per update", lambda record: record.seconds_per_update, False),
        Measure("minutes per run", lambda record: record.seconds / 60, False, 1),
        Measure("peak memory, MiB", lambda record: record.outcome.memory / MIB or math.nan, False, 0),
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
        chosen.append(Measure(f"{pair}: mean", _metric(name), None, 3))
        chosen.append(Measure(f"{pair}: σ", _metric(spread_name(name)), None, 3))
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
    signs = ["" for _ in rows]
    if measure.higher is not None:
        signs = marks([measure.by_seed(row) for row in rows], texts, [s.mean for s in summaries], measure.higher)
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
