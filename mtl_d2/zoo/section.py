"""Sections of the page: the runs of one comparison, or of one config file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mtl_d2.comparison.collect import Collected, Record, collect
from mtl_d2.comparison.collect import Row as ComparisonRow
from mtl_d2.comparison.spec import Comparison, Entry
from mtl_d2.evaluation.delta import Metric
from mtl_d2.report.run import Run
from mtl_d2.zoo.images import count_images
from mtl_d2.zoo.log import Log, read_log
from mtl_d2.zoo.weights import UnfitError, Weights, read_weights


@dataclass(frozen=True)
class Trained:
    """A finished run whose files belong together.

    Attributes:
        record: its metrics and cost.
        weights: its final ones.
        log: what its log says of how it was made.
        images: how many each data set has, where that is known.
    """

    record: Record
    weights: Weights
    log: Log
    images: Mapping[str, int]

    @property
    def run(self) -> Run:
        """What it left."""
        return self.record.run


@dataclass(frozen=True)
class Row:
    """One config, over its seeds.

    Attributes:
        name: in the section.
        words: the ``KEY VALUE`` words that make it of the section's config file.
        runs: by seed.
    """

    name: str
    words: tuple[str, ...]
    runs: tuple[Trained, ...]


@dataclass(frozen=True)
class Section:
    """What was made by one command, or of one config file.

    Attributes:
        title: heading.
        key: the folder or file, which sections are sorted by.
        about: the comment at the head of the file, line by line.
        started: the command that made the runs, as typed in the root of a checkout.
        extra: words after it, for all runs.
        single: the command that trains one of them, to which a row's words are added; "" where ``started`` does.
        metrics: columns.
        rows: at least one.
        remarks: further lines.
    """

    title: str
    key: str
    about: tuple[str, ...]
    started: str
    extra: tuple[str, ...]
    single: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()


@dataclass
class LeftOut:
    """Runs that are not on the page: a line for each, by the run's name."""

    reasons: dict[str, str] = field(default_factory=dict)


def trained(row: ComparisonRow, names: Mapping[Path, str], left_out: LeftOut) -> tuple[Trained, ...]:
    """Those of a row's runs that count, by seed.

    Args:
        row: as a comparison collects it.
        names: of the runs, by folder.
        left_out: takes the others.
    """
    fit: dict[str, Trained] = {}
    for record in row.records:
        name = names.get(record.run.folder, "")
        try:
            one = _judged(record)
        except UnfitError as error:
            left_out.reasons[name or f"{row.entry.name}, seed {record.seed}"] = str(error)
            continue
        if record.seed in fit:
            same = names.get(fit[record.seed].run.folder, "")
            left_out.reasons[name] = f"its config and seed are those of {same}"
            continue
        fit[record.seed] = one
    return tuple(fit[seed] for seed in sorted(fit, key=lambda seed: (len(seed), seed)))


def _judged(record: Record) -> Trained:
    """A record with its weights.

    Raises:
        UnfitError: it does not count.
    """
    if not record.finished:
        reason = f": {record.outcome.reason}" if record.outcome.reason else ""
        raise UnfitError(" ".join(f"{record.outcome.state}{reason}".split()))
    weights = read_weights(record.run)
    on_gpu = not str(record.run.setting("MODEL.DEVICE", "cpu")).startswith("cpu")
    log = read_log(record.run.folder, on_gpu)
    return Trained(record, weights, log, {**count_images(record.run, weights.records), **log.evaluated})


def collected_alone(entries: Sequence[Entry]) -> Collected:
    """Runs that no comparison started, each entry with its folders."""
    path = Path()
    return collect(Comparison(path, "", None, path, (), (), tuple(entries), (), {}, None, ()), {})


def head_of(path: Path) -> tuple[str, ...]:
    """The comment that a file begins with, line by line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return tuple(lines)


def without_rows_of_none(section: Section) -> Section | None:
    """The section with the rows that have runs; None if no row has."""
    rows = tuple(row for row in section.rows if row.runs)
    return replace(section, rows=rows) if rows else None
