"""The section on what was trained on: epochs of each data set, and how often two tasks came together."""

from __future__ import annotations

import pandas as pd

from mtl_d2.report.markup import Section, paragraph, table
from mtl_d2.report.run import Run
from mtl_d2.report.scalar_names import EPOCHS, IN_SAMPLES, IN_UPDATES


def union_section(run: Run) -> Section | None:
    """Two tables of what was logged last; None where nothing was."""
    epochs, updates, samples = (_last(run, prefix) for prefix in (EPOCHS, IN_UPDATES, IN_SAMPLES))
    body = ""
    if epochs:
        body += table(pd.DataFrame({"epochs seen": [f"{value:.3g}" for value in epochs.values()]}, index=list(epochs)))
    if updates:
        shares = {"share of updates": updates, "share of samples": samples}
        cells = {head: [f"{of[pair]:.1%}" if pair in of else "-" for pair in updates] for head, of in shares.items()}
        body += paragraph("How often two tasks came together: in an update, and on one image.")
        body += table(pd.DataFrame(cells, index=list(updates)))
    return Section("union", "Data sets and pairs of tasks", body) if body else None


def _last(run: Run, prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): s.last for name, s in run.series.items() if name.startswith(prefix)}
