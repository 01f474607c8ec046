"""``search.json`` of a search: its trials, what they came to, and what it has cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from mtl_d2.comparison.state import FAILED, FINISHED, changes
from mtl_d2.files import write_atomically

FILE = "search.json"
TRIAL = ", trial "  # between a search's name and a trial's, in that of its runs
TRIALS = "trials"  # below a search's folder, their folders
CHOSEN, STOPPED, GOES_ON = "chosen", "stopped", "goes on"


@dataclass(frozen=True)
class TrialRecord:
    """A trial.

    Attributes:
        name: its number.
        weights: one for each task.
        updates: that it has made.
        value: on the held-out images, the last time; None if there is none.
        state: CHOSEN, STOPPED since others were better, GOES_ON, or as runs have it.
        reason: why it is not finished.
    """

    name: str
    weights: tuple[float, ...]
    updates: int
    value: float | None
    state: str
    reason: str = ""


@dataclass(frozen=True)
class SearchRecord:
    """Where a search stands.

    Attributes:
        by: how it searches.
        seed: of draws and trials.
        criterion: what is compared on the held-out images.
        higher: whether a higher value is better.
        tasks: in the order of all weights.
        budget: updates, in all.
        budget_of: the method or grid that makes as many; "" where the file says a number.
        updates: of a whole run.
        rungs: pairs of updates, and how many candidates are judged after so many.
        trials: all candidates.
        decided: whether all trials are over.
        winner: name of the trial that won; "" if there is none, or none yet.
        finals: updates that the winner's other runs have made.
        left: updates of trials that are none of these any more, as where the file said something else before.
    """

    by: str
    seed: int
    criterion: str
    higher: bool
    tasks: tuple[str, ...]
    budget: int
    budget_of: str
    updates: int
    rungs: tuple[tuple[int, int], ...]
    trials: tuple[TrialRecord, ...]
    decided: bool
    winner: str
    finals: int
    left: int = 0

    @property
    def chosen(self) -> TrialRecord | None:
        """The trial that won."""
        return next((trial for trial in self.trials if trial.name == self.winner), None)

    @property
    def spent(self) -> int:
        """Updates of all trials and of the winner's other runs, but for those ``left``."""
        return sum(trial.updates for trial in self.trials) + self.finals


def write_record(folder: Path, record: SearchRecord) -> SearchRecord:
    """Leaves it in the search's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(asdict(record), indent=1))
    return record


def read_record(folder: Path) -> SearchRecord | None:
    """What was written there; None if nothing was, or by another version."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        trials = tuple(TrialRecord(**{**t, "weights": tuple(t["weights"])}) for t in content.pop("trials"))
        rungs = tuple((updates, count) for updates, count in content.pop("rungs"))
        return SearchRecord(**{**content, "tasks": tuple(content["tasks"]), "rungs": rungs, "trials": trials})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def has_others(folder: Path, weights: Sequence[float] | None) -> bool:
    """Whether the run in a folder was started with other weights than these; None: with any."""
    expected = {"MTL": {"SCALARIZATION": {"FIXED": {"WEIGHTS": None if weights is None else list(weights)}}}}
    return bool(changes(folder, yaml.safe_dump(expected)))


def lost_trials(name: str, record: SearchRecord) -> list[str]:
    """What a reader must know: trials that were lost, and that nothing was chosen, or nothing yet."""
    lost = [t for t in record.trials if t.reason and t.state in (FAILED, FINISHED)]
    lines = [f"{name}, trial {t.name} was lost: {t.state}: {t.reason}" for t in lost]
    if not record.decided:
        lines.append(f"{name}: its trials are not over, so that no weights are chosen yet; the same command goes on")
    elif record.chosen is None:
        lines.append(f"{name}: no candidate came to its end with a value, so that nothing was chosen")
    return lines
