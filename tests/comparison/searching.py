"""Searches of trainings that never happened: what they left is written by hand."""

from __future__ import annotations

import json
from pathlib import Path

from made_up import CONFIGS, made_up_comparison

from mtl_d2.comparison.plan import plan_runs
from mtl_d2.comparison.search_plan import SearchPlan, plan_searches
from mtl_d2.comparison.state import CONFIG, FINISHED, Outcome, write_outcome
from mtl_d2.engine.held_out import add_held_out

NAME = "best weights"
UPDATES = 80
OVERRIDES = {
    "DATASETS.TEST": ["multi_mnist_test"],
    "MTL": {"SELECT_BY": "", "DATA.VALIDATION_SHARE": 0.05},
    "SOLVER": {"MAX_ITER": UPDATES, "STEPS": [60]},
}


def searching(search, **changes):
    """What of ``write_file`` makes a file with one search."""
    changes = {"seeds": [1, 2, 3], "methods": {"equal": {}}, **changes}
    overrides = OVERRIDES | changes.pop("overrides", {})
    defaults = {"weights": {"class_left": [0.1, 10.0]}, "budget": 10 * UPDATES, "select": "accuracy/harmonic_mean"}
    content = {key: value for key, value in (defaults | search).items() if value is not None}
    base = str(CONFIGS / "multi_mnist_equal.yaml")
    return {"base": base, "overrides": overrides, "searches": {NAME: content}, **changes}


def plan(folder: Path, search, **changes) -> SearchPlan:
    """The search of a made-up file; what looks at data has to be replaced before."""
    comparison = made_up_comparison(folder, **searching(search, **changes))
    (planned,) = plan_searches(comparison, plan_runs(comparison))
    return planned


def write_made(folder: Path, updates: int, score: float | None = None, outcome: Outcome | None = None) -> None:
    """What a run leaves after so many updates; with a score, the held-out images were evaluated there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text("SEED: 1\n")
    (folder / "metrics.json").write_text(json.dumps({"iteration": updates - 1, "total_loss": 1.0}) + "\n")
    if score is not None:
        add_held_out(folder, updates, {"accuracy": {"harmonic_mean": score, "error": score}})
    write_outcome(folder, outcome or Outcome(FINISHED))
