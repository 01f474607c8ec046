"""Where a search stands, by what its trials have left in their folders; and which runs are next."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtl_d2.comparison.plan import PlannedRun
from mtl_d2.comparison.search_costs import Rung
from mtl_d2.comparison.search_plan import SearchPlan, Trial
from mtl_d2.comparison.search_record import (
    CHOSEN,
    GOES_ON,
    STOPPED,
    TRIALS,
    SearchRecord,
    TrialRecord,
    has_others,
    write_record,
)
from mtl_d2.comparison.state import CONFIG, FAILED, FINISHED, INTERRUPTED, read_outcome, updates_done, write_outcome
from mtl_d2.comparison.tables import DECIMALS
from mtl_d2.engine.held_out import read_held_out
from mtl_d2.report.precision import metric_precision


@dataclass(frozen=True)
class Standing:
    """Where a search stands.

    Attributes:
        rung: that trials are on their way to; None where all is decided.
        trials: those that go there; where all is decided the winner alone, or nothing where every trial was lost.
    """

    rung: Rung | None
    trials: Sequence[Trial]

    @property
    def winner(self) -> Trial | None:
        """The winner, once it is known."""
        return self.trials[0] if self.rung is None and self.trials else None


def standing(plan: SearchPlan, retry_failed: bool = False) -> Standing:
    """Where a search stands. Where all trials that came to a rung were lost, the best that had stopped goes there.

    Args:
        plan: its trials.
        retry_failed: whether trials that have failed are to go on; not past a rung where others have gone on already.
    """
    here: list[Trial] = list(plan.trials)
    stopped: list[Trial] = []  # at the rung before, the best first
    for rung, following in zip(plan.ladder, [*plan.ladder[1:], None], strict=True):
        again = retry_failed and not _is_past(plan, rung)
        ranked: list[Trial] = []
        while here and not ranked:
            if any(not _is_over(plan, trial, rung, again) for trial in here):
                return Standing(rung, here)
            ranked = _ranked(plan, here, rung)
            if not ranked:  # all that came here were lost
                here, stopped = stopped[:1], stopped[1:]
        count = following.candidates if following else 1
        here, stopped = sorted(ranked[:count], key=lambda trial: int(trial.name)), ranked[count:]
    return Standing(None, here)


def value(plan: SearchPlan, trial: Trial, rung: Rung) -> float:
    """The criterion on the held-out images; NaN of a trial that did not come there, or that failed there."""
    if rung == plan.ladder[-1] and read_outcome(trial.run.folder).state != FINISHED:
        return math.nan
    results = read_held_out(trial.run.folder).get(rung.updates)
    return math.nan if results is None else plan.criterion.value(results)


def _ranked(plan: SearchPlan, trials: Sequence[Trial], rung: Rung) -> list[Trial]:
    """Those that have a value, the best first, of equal ones the first."""
    values = {trial.name: value(plan, trial, rung) for trial in trials}
    sign = -1 if plan.criterion.higher else 1
    return sorted((t for t in trials if math.isfinite(values[t.name])), key=lambda t: sign * values[t.name])


def _is_over(plan: SearchPlan, trial: Trial, rung: Rung, again: bool) -> bool:
    state = read_outcome(trial.run.folder).state
    if rung.updates in read_held_out(trial.run.folder) and (rung != plan.ladder[-1] or state == FINISHED):
        return True
    return state == FAILED and not again


def _is_past(plan: SearchPlan, rung: Rung) -> bool:
    """Whether trials, or the winner's runs, have begun what follows."""
    finals = (run for runs in plan.finals.values() for run in runs)
    return any(updates_done(trial.run.folder) > rung.updates for trial in plan.trials) or any(
        (run.folder / CONFIG).exists() for run in finals
    )


def passed_by(plan: SearchPlan) -> dict[str, str]:
    """Trials that are past a rung without having been judged there: the file had other rungs when they were made.

    Returns:
        By the label of a trial's run, what is to be said of it.
    """
    lines = {}
    for trial in plan.trials:
        made, seen = updates_done(trial.run.folder), read_held_out(trial.run.folder)
        rungs = [str(rung.updates) for rung in plan.ladder if rung.updates < made and rung.updates not in seen]
        if rungs:
            where = f"after {', '.join(rungs)} of them, where the search judges now"
            lines[trial.run.label] = f"it has made {made} updates and was not judged {where}"
    return lines


def next_runs(plan: SearchPlan, retry_failed: bool = False) -> list[PlannedRun]:
    """The runs that can be made now: trials up to the next rung, then the winner's.

    A trial that is done for one rung and goes on to the next is no longer finished.
    """
    now = standing(plan, retry_failed)
    if now.rung is None:
        return list(plan.finals[now.winner.name]) if now.winner else []
    runs = []
    for trial in now.trials:
        outcome = read_outcome(trial.run.folder)
        if outcome.state == FINISHED and not _is_over(plan, trial, now.rung, again=False):
            reason = f"goes on to update {now.rung.updates}"
            write_outcome(trial.run.folder, replace(outcome, state=INTERRUPTED, reason=reason))
        runs.append(trial.up_to(now.rung.updates))
    return runs


def waves(
    planned: Sequence[PlannedRun], plans: Sequence[SearchPlan], retry_failed: bool = False
) -> Generator[list[PlannedRun], None, None]:
    """All runs of a comparison, in groups that are made one after the other: which runs follow is known only then.

    Args:
        planned: those that are known, in the first group.
        plans: searches.
        retry_failed: see ``standing``; what fails meanwhile is not tried again.
    """
    wave = [*planned, *(run for plan in plans for run in next_runs(plan, retry_failed))]
    made: set[tuple[str, int]] = set()
    while wave:
        yield wave
        made |= {(str(run.folder), run.updates) for run in wave}
        following = [run for plan in plans for run in next_runs(plan)]
        wave = [run for run in following if (str(run.folder), run.updates) not in made]


def record(plan: SearchPlan) -> SearchRecord:
    """Writes where a search stands into its folder, for the tables, and gives it."""
    now = standing(plan)
    winner = now.winner
    runs = [run for run in plan.finals[winner.name] if not has_others(run.folder, winner.weights)] if winner else []
    trials = tuple(_trial_record(plan, trial, now) for trial in plan.trials)
    return write_record(
        plan.folder,
        SearchRecord(
            by=plan.search.by,
            seed=plan.trials[0].run.seed,
            criterion=plan.criterion.text,
            higher=plan.criterion.higher,
            tasks=plan.tasks,
            budget=plan.budget,
            budget_of=plan.budget_of,
            updates=plan.ladder[-1].updates,
            rungs=tuple((rung.updates, rung.candidates) for rung in plan.ladder),
            trials=trials,
            decided=now.rung is None,
            winner=winner.name if winner else "",
            finals=sum(min(updates_done(run.folder), run.updates) for run in runs),
            left=sum(updates_done(folder) for folder in _left_behind(plan, runs)),
        ),
    )


def _left_behind(plan: SearchPlan, runs: Sequence[PlannedRun]) -> Iterator[Path]:
    """Folders of trials that the search no longer has, of other runs than the winner's, and that were set aside."""
    names = {trial.name for trial in plan.trials}
    yield from (folder for folder in (plan.folder / TRIALS).glob("*") if folder.name not in names)
    kept = {plan.folder / TRIALS, *(run.folder for run in runs)}
    yield from (folder for folder in plan.folder.glob("*") if folder not in kept)


def _trial_record(plan: SearchPlan, trial: Trial, now: Standing) -> TrialRecord:
    outcome, seen = read_outcome(trial.run.folder), read_held_out(trial.run.folder)
    rungs = [rung for rung in plan.ladder if rung.updates in seen]
    made = max([updates_done(trial.run.folder), *(rung.updates for rung in rungs)])
    values = [v for rung in rungs if math.isfinite(v := value(plan, trial, rung))]
    state, reason = outcome.state, outcome.reason
    if now.winner is trial:
        state = CHOSEN
    elif state in (FINISHED, INTERRUPTED) and made < plan.ladder[-1].updates:
        state = GOES_ON if any(trial is other for other in now.trials) else STOPPED
    elif state == FINISHED and not values:
        reason = f"{plan.criterion.text} has no value"
    return TrialRecord(
        trial.name, trial.weights, min(made, trial.run.updates), values[-1] if values else None, state, reason
    )


def trial_result(run: PlannedRun, plans: Sequence[SearchPlan]) -> str:
    """What a trial has come to, in words.

    Args:
        run: of the trial, up to a rung.
        plans: searches, of which one has it.
    """
    plan, trial = next((p, t) for p in plans for t in p.trials if t.run.folder == run.folder)
    rung = next(rung for rung in plan.ladder if rung.updates == run.updates)
    seen, by = value(plan, trial, rung), plan.criterion.text
    shown = metric_precision(by, [seen], DECIMALS)(seen)
    weights = ", ".join(f"{task} {w:g}" for task, w in zip(plan.tasks, trial.weights, strict=True))
    return f"{by} {shown} on held-out images after {run.updates} updates with {weights}"
