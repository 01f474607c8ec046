"""What each method has more or less than one of them, paired over the seeds, and whether that is more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mtl_d2.comparison.collect import Collected, Row
from mtl_d2.comparison.significance import FEWEST, LEVEL, Difference, difference, holm
from mtl_d2.comparison.tables import NONE, Cell, Measure, Table, measures
from mtl_d2.report.precision import Precision, precision_of

SMALLEST = 0.001  # of the p that are written out
NOTE = (
    "Value of a method minus that of {name}, mean over the common seeds: those that both have finished (n where fewer "
    f"of them have the value). In brackets its interval of {100 * (1 - LEVEL):g} % confidence (Student's t, one method "
    "by itself); p is that of the paired t test, after Holm's correction for the methods of a column. Bold: "
    f"better or worse with p < {LEVEL:g} and at least {FEWEST} common seeds; of all others nothing is claimed."
)


@dataclass(frozen=True)
class Compared:
    """A method beside the reference, in one measure.

    Attributes:
        row: the method.
        gap: its value minus the reference's.
        corrected: p after Holm's correction over the methods; NaN with fewer common seeds than anything is claimed of.
    """

    row: Row
    gap: Difference
    corrected: float


def compare(reference: Row, others: Sequence[Row], measure: Measure) -> list[Compared]:
    """Each of the others beside the reference."""
    base = measure.by_seed(reference)
    gaps = [difference(measure.by_seed(row), base) for row in others]
    corrected = holm([gap.p if gap.count >= FEWEST else math.nan for gap in gaps])
    return [Compared(*each) for each in zip(others, gaps, corrected, strict=True)]


def difference_table(collected: Collected) -> Table | None:
    """The differences of all methods to the reference; None where no method has a seed in common with it."""
    reference, others = collected.reference, _comparable(collected)
    if reference is None or not others:
        return None
    chosen = measures(collected)
    columns = [[_cell(c, m, p, reference) for c in compare(reference, others, m)] for m, p in _precisions(collected)]
    seeds = [Cell(str(_common(reference, row))) for row in others]
    cells = pd.DataFrame([seeds, *columns], index=["common seeds", *(measure.title for measure in chosen)]).T
    name = reference.entry.name
    alone = [row.entry.name for row in collected.rows if row.finished and row not in [reference, *others]]
    note = NOTE.format(name=name)
    note += f" Without a seed in common with {name}: {', '.join(alone)}." if alone else ""
    return Table(f"Differences from {name}", cells.set_axis([row.entry.name for row in others]), note=note)


def differences_csv(collected: Collected) -> str:
    """A line for each method and measure: difference, interval, p and corrected p, not rounded."""
    reference, others = collected.reference, _comparable(collected)
    name = reference.entry.name if reference else ""
    head = ["method", "reference", "measure", "seeds", "difference", "low", "high", "p", "p corrected", "claimed"]
    lines = [
        (
            c.row.entry.name, name, measure.title, c.gap.count, c.gap.mean, c.gap.low, c.gap.high, c.gap.p, c.corrected,
            _verdict(c, measure, precision),
        )
        for measure, precision in _precisions(collected)
        for c in (compare(reference, others, measure) if reference else [])
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=head).to_csv(index=False)


def _comparable(collected: Collected) -> list[Row]:
    """The rows besides the reference that have finished seeds in common with it."""
    reference = collected.reference
    return [row for row in collected.rows if reference and row is not reference and _common(reference, row)]


def _common(first: Row, second: Row) -> int:
    """How many seeds both have finished."""
    return len(first.by_seed.keys() & second.by_seed.keys())


def _precisions(collected: Collected) -> list[tuple[Measure, Precision]]:
    """The measures, each with the precision that the table of results has."""
    return [(m, precision_of((m.summary(row).mean for row in collected.rows), m.decimals)) for m in measures(collected)]


def _verdict(compared: Compared, measure: Measure, precision: Precision) -> str:
    """`better`, `worse`, or nothing: also of a difference that is 0 as shown."""
    gap = compared.gap
    if not gap.is_claimed(compared.corrected) or precision(gap.mean) == precision(0.0):
        return ""
    return "better" if (gap.mean > 0) == measure.higher else "worse"


def _cell(compared: Compared, measure: Measure, precision: Precision, reference: Row) -> Cell:
    gap = compared.gap
    if not gap.count:
        return Cell(NONE)
    verdict = _verdict(compared, measure, precision)
    details = []
    if gap.count > 1:
        details.append(f"[{_signed(gap.low, precision)}, {_signed(gap.high, precision)}]")
    if not math.isnan(compared.corrected):
        details.append(_p(compared.corrected))
    if gap.count < _common(reference, compared.row):
        details.append(f"n = {gap.count}")
    details += [verdict] if verdict else []
    return Cell(_signed(gap.mean, precision), mark="best" if verdict else "", detail=", ".join(details))


def _signed(value: float, precision: Precision) -> str:
    text = precision(value)
    return f"+{text}" if value > 0 and text != precision(0.0) else text


def _p(p: float) -> str:
    if p < SMALLEST:
        return f"p < {SMALLEST:g}"
    return f"p {p:.2f}" if p >= 0.1 else f"p {p:.3f}"
