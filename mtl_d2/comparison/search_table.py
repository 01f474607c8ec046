"""What the page and the files say of searches."""

from __future__ import annotations

import math

import pandas as pd

from mtl_d2.comparison.search_record import SearchRecord
from mtl_d2.comparison.tables import DECIMALS, NONE, Cell, Table
from mtl_d2.report.precision import metric_precision

WAYS = {
    "random": "{count} candidates, drawn evenly in the logarithm with seed {seed}",
    "grid": "{count} candidates, evenly in the logarithm",
    "halving": "{count} candidates, drawn evenly in the logarithm with seed {seed}; {rungs}",
}


def search_table(name: str, record: SearchRecord) -> Table:
    """A row for each trial: weights, value on the held-out images, updates, how it ended."""
    values = {trial.name: math.nan if trial.value is None else trial.value for trial in record.trials}
    precision = metric_precision(record.criterion, values.values(), DECIMALS)
    arrow = "↑" if record.higher else "↓"
    columns = [*(f"weight of {task}" for task in record.tasks), f"{record.criterion}, held out {arrow}", "updates"]
    columns.append("result")
    rows = []
    for trial in record.trials:
        shown = NONE if trial.value is None else precision(trial.value)
        value = Cell(shown, mark="best" if trial.name == record.winner else "")
        rows.append([*(Cell(f"{w:g}") for w in trial.weights), value, Cell(str(trial.updates)), Cell(trial.state)])
    cells = pd.DataFrame(rows, columns=columns, index=[trial.name for trial in record.trials])
    return Table(f"Search: {name}", cells, "trial", summary(record))


def summary(record: SearchRecord) -> str:
    """How it searched, and what that cost, in sentences."""
    rungs = "; ".join(f"{count} judged after {updates} updates" for updates, count in record.rungs)
    how = WAYS[record.by].format(count=len(record.trials), seed=record.seed, rungs=rungs)
    of = f", as many as all runs of {record.budget_of}" if record.budget_of else ""
    trials = sum(trial.updates for trial in record.trials)
    cost = (
        f"{trials} updates of trials and {record.finals} of the winner's other runs, together {record.spent}, of a "
        f"budget of {record.budget}{of}"
    )
    if record.left:
        cost += f"; {record.left} more were made by trials and runs that are not part of the search any more"
    chosen = record.chosen
    result = "not decided yet"
    if chosen is not None:
        weights = ", ".join(f"{task} {w:g}" for task, w in zip(record.tasks, chosen.weights, strict=True))
        result = f"chosen: {weights} (trial {chosen.name})"
    elif record.decided:
        result = "no candidate came to its end with a value, so that nothing was chosen"
    return (
        f"{how}. Judged by {record.criterion} on images held out of training, with training seed {record.seed}; the "
        f"weights of a trial add up to {len(record.tasks)}, the number of tasks. {cost}. Result: {result}."
    )


def search_columns(record: SearchRecord | None) -> dict[str, str]:
    """What ``runs.csv`` says beside each run of a search's row."""
    if record is None or record.chosen is None:
        return {}
    weights = " ".join(f"{task}={w:g}" for task, w in zip(record.tasks, record.chosen.weights, strict=True))
    return {
        "searched_weights": weights,
        "search_trials": str(len(record.trials)),
        "search_updates": str(record.spent),
        "search_budget": str(record.budget),
    }
