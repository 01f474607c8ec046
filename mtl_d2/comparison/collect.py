"""What the runs of a comparison came to, read from their folders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mtl_d2.comparison.notes import missing, remarks_of_runs, unfinished
from mtl_d2.comparison.search_record import TRIALS, SearchRecord, has_others, lost_trials, read_record
from mtl_d2.comparison.spec import Comparison, Entry, run_folder, with_weights
from mtl_d2.comparison.state import FAILED, FINISHED, NEW, Outcome, read_outcome
from mtl_d2.comparison.statistics import Summary, summarize
from mtl_d2.engine.loop import spread_name
from mtl_d2.evaluation.delta import Metric, delta
from mtl_d2.evaluation.main_metrics import main_metrics
from mtl_d2.report.run import Run, read_run

COSINES = ("cosine/", "cosine_level/")  # of all shared parameters; of MTL.GRADIENT.LEVEL where that is another


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        seed: in words.
        outcome: how it ended.
        run: what it left.
        metrics: of its last evaluation by `group/metric`, and `cosine/` (mean) and `cosine_std/` of each pair of tasks
            and of consecutive updates, over the training, and `cosine_level/` likewise; empty unless it is finished.
    """

    seed: str
    outcome: Outcome
    run: Run
    metrics: Mapping[str, float]

    @property
    def finished(self) -> bool:
        """Whether its numbers count."""
        return self.outcome.state == FINISHED

    @property
    def seconds_per_update(self) -> float:
        """Median of the logged times; NaN if there are none."""
        time = self.run.series.get("time")
        return float(np.median(time.values)) if time is not None and len(time.values) else math.nan

    @property
    def seconds(self) -> float:
        """Wall time of the whole run, from the log where a process was not timed, as one that was killed; else NaN."""
        return max(self.outcome.seconds, self.run.seconds) or math.nan


@dataclass(frozen=True)
class Row:
    """All runs of one entry."""

    entry: Entry
    records: Sequence[Record]

    @property
    def finished(self) -> list[Record]:
        """Those whose numbers count."""
        return [record for record in self.records if record.finished]

    @property
    def by_seed(self) -> dict[str, Record]:
        """Those finished whose seed no other run of the row has, nor chance has chosen (-1): they can be paired."""
        seeds = Counter(record.seed for record in self.records)
        return {r.seed: r for r in self.finished if seeds[r.seed] == 1 and not r.seed.startswith("-")}

    def summary(self, metric: str) -> Summary:
        """Over the finished runs."""
        return summarize(record.metrics.get(metric, math.nan) for record in self.finished)

    @property
    def parameters(self) -> float:
        """Of the model, the mean over the finished runs that say it; NaN if none does."""
        return summarize(record.run.parameters or math.nan for record in self.finished).mean

    @property
    def counted(self) -> str:
        """`3`, or `2 of 3 (1 failed)`."""
        states = [record.outcome.state for record in self.records if not record.finished]
        if not states:
            return str(len(self.records))
        kinds = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"{len(self.finished)} of {len(self.records)} ({kinds})"


@dataclass(frozen=True)
class Collected:
    """All rows, and what follows from all of them together."""

    comparison: Comparison
    rows: Sequence[Row]
    searches: Mapping[str, SearchRecord] = field(default_factory=dict)  # by the name of the row

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that the file names, else the main ones that there are."""
        names = dict.fromkeys(name for row in self.rows for record in row.finished for name in record.metrics)
        return self.comparison.metrics or main_metrics(list(names), self.comparison.directions)

    @cached_property
    def base(self) -> Mapping[str, float]:
        """The base of Delta by metric: means over seeds; a metric that it lacks is not there."""
        given = self.comparison.delta_base
        if isinstance(given, Mapping):
            return {str(name): float(value) for name, value in given.items()}
        means: dict[str, float] = {}
        for row in self.base_rows:
            for metric in self.metrics:
                summary = row.summary(metric.name)
                if summary.count:
                    means.setdefault(metric.name, summary.mean)
        return means

    @property
    def base_name(self) -> str:
        """The base in words."""
        given = self.comparison.delta_base
        return "the values given" if isinstance(given, Mapping) else ", ".join(r.entry.name for r in self.base_rows)

    @property
    def base_rows(self) -> list[Row]:
        """The rows whose means are the base; none where values are given."""
        given = self.comparison.delta_base
        if isinstance(given, Mapping):
            return []
        if given is not None:
            return [row for row in self.rows if row.entry.name == given]
        return [row for row in self.rows if row.entry.baseline] or list(self.rows[:1])

    @property
    def single_task_size(self) -> float:
        """Parameters of a single-task model, the mean of the baselines; NaN if there are none, or one does not say."""
        sizes = [row.parameters for row in self.rows if row.entry.baseline]
        return sum(sizes) / len(sizes) if sizes else math.nan

    def delta(self, row: Row, convention: str) -> Summary:
        """Delta of each finished run, over the runs."""
        return summarize(self.run_delta(record, convention) for record in row.finished)

    def run_delta(self, record: Record, convention: str) -> float:
        """Delta of a finished run against the mean of the base."""
        return delta(convention, record.metrics, self.base, self.metrics)

    @property
    def reference(self) -> Row | None:
        """The row that others are compared with: the file's, else the method that is Delta's base, else the first."""
        name = self.comparison.reference or self.comparison.delta_base
        named = [row for row in self.rows if row.entry.name == name]
        methods = [row for row in self.rows if not row.entry.baseline]
        return next(iter([*named, *methods, *self.rows]), None)

    @property
    def notes(self) -> list[str]:
        """Every run that does not count, with the reason, and what else a reader must know."""
        lost = [line for name, record in self.searches.items() for line in lost_trials(name, record)]
        return [*unfinished(self), *lost, *missing(self), *remarks_of_runs(self)]


def collect_all(comparison: Comparison) -> Collected:
    """Reads all runs from where the comparison has them; the row of a search has the weights that it came to."""
    searched = {
        entry.name: record
        for entry in comparison.entries
        if entry.searched and (record := read_record(comparison.output / entry.slug)) is not None
    }
    comparison = replace(comparison, entries=tuple(_resolved(e, searched.get(e.name)) for e in comparison.entries))
    folders = {
        entry.name: {str(seed): run_folder(comparison, entry, seed) for seed in comparison.seeds}
        for entry in comparison.entries
        if not entry.folders
    }
    for name, record in searched.items():
        trial = next(entry for entry in comparison.entries if entry.name == name)
        if record.chosen is not None and record.seed in comparison.seeds:  # that run is the trial
            folders[name][str(record.seed)] = comparison.output / trial.slug / TRIALS / record.winner
    collected = collect(comparison, folders)
    rows = [
        _of_the_winner(row, searched[row.entry.name]) if row.entry.name in searched else row for row in collected.rows
    ]
    return replace(collected, rows=rows, searches=searched)


def _of_the_winner(row: Row, record: SearchRecord) -> Row:
    """The row of a search without runs of a candidate that had won before, as where it had fewer of them."""
    weights = record.chosen.weights if record.chosen else None
    why = Outcome(NEW, "the run in its folder has weights that were chosen before")
    return replace(
        row,
        records=[
            Record(run.seed, why, Run(run.run.folder), {}) if has_others(run.run.folder, weights) else run
            for run in row.records
        ],
    )


def _resolved(entry: Entry, record: SearchRecord | None) -> Entry:
    return entry if record is None or record.chosen is None else with_weights(entry, record.chosen.weights)


def collect(comparison: Comparison, folders: Mapping[str, Mapping[str, Path]]) -> Collected:
    """Reads all runs.

    Args:
        comparison: the rows.
        folders: of each entry by name, the folder of each seed.
    """
    rows = []
    for entry in comparison.entries:
        if entry.folders:
            records = [_existing(folder) for folder in entry.folders]
        else:
            records = [_record(seed, folder, read_outcome(folder)) for seed, folder in folders[entry.name].items()]
        rows.append(Row(entry, records))
    return Collected(comparison, rows)


def _existing(folder: Path) -> Record:
    """A run that this comparison did not start: its log says whether it came to its end."""
    run = read_run(folder)
    planned, outcome = run.setting("SOLVER.MAX_ITER"), read_outcome(folder)
    if outcome.state == NEW:
        done = not isinstance(planned, int) or run.updates >= planned
        reason = "" if done else f"its log ends at update {run.updates} of {planned}"
        outcome = Outcome(FINISHED if done else FAILED, reason)
    return _judged(str(run.setting("SEED", folder.name)), outcome, run)


def _record(seed: str, folder: Path, outcome: Outcome) -> Record:
    run = read_run(folder) if folder.is_dir() else Run(folder)
    return _judged(seed, outcome, run)


def _judged(seed: str, outcome: Outcome, run: Run) -> Record:
    return Record(seed, outcome, run, _metrics(run) if outcome.state == FINISHED else {})


def _metrics(run: Run) -> dict[str, float]:
    """The run's own results, and the cosines."""
    metrics = {f"{group}/{name}": value for group, row in run.own_results.items() for name, value in row.items()}
    for name, series in run.series.items():
        if name.startswith(COSINES) and len(series.values):
            metrics[name] = float(series.values.mean())
            metrics[spread_name(name)] = float(series.values.std())
    return metrics
