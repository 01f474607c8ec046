"""From a comparison's searches to trials with whole configs, within their budgets; all of it has been checked."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from detectron2.config import CfgNode

from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.plan import PlannedRun, config_mistakes, entry_config, lines_of, planned_run
from mtl_d2.comparison.search_costs import Rung, cost, most_candidates, rungs
from mtl_d2.comparison.search_draws import candidates, points_per_range
from mtl_d2.comparison.search_record import TRIAL, TRIALS
from mtl_d2.comparison.search_spec import GRID, Search
from mtl_d2.comparison.spec import Comparison, Entry, run_folder, with_weights
from mtl_d2.config import ConfigError
from mtl_d2.config_check import unknown
from mtl_d2.data import DataError
from mtl_d2.evaluation.criteria import HELD_OUT, Criterion, chosen_by_itself, read_criteria, selects_on_held_out
from mtl_d2.evaluation.rehearsal import rehearse


@dataclass(frozen=True)
class Trial:
    """A candidate.

    Attributes:
        name: its number, from 1 on.
        weights: one for each task.
        run: its whole run.
    """

    name: str
    weights: tuple[float, ...]
    run: PlannedRun

    def up_to(self, updates: int) -> PlannedRun:
        """Its run as far as so many updates, where the held-out images are evaluated."""
        return replace(self.run, updates=updates, arguments=("--stop-after", str(updates)))


@dataclass(frozen=True)
class SearchPlan:
    """A search whose trials are known.

    Attributes:
        search: what the file says.
        folder: of the search.
        tasks: in the order of the weights.
        trials: all candidates.
        ladder: where they are judged.
        criterion: by what, on the held-out images.
        budget: updates.
        budget_of: what costs as many, in words.
        finals: runs of the winner by trial's name: those that are not the trial itself.
    """

    search: Search
    folder: Path
    tasks: tuple[str, ...]
    trials: tuple[Trial, ...]
    ladder: tuple[Rung, ...]
    criterion: Criterion
    budget: int
    budget_of: str
    finals: Mapping[str, tuple[PlannedRun, ...]]

    @property
    def cost(self) -> int:
        """Updates of all trials and of the winner's other runs."""
        return cost(self.ladder) + sum(run.updates for run in self.finals[self.trials[0].name])


def plan_searches(
    comparison: Comparison,
    planned: Sequence[PlannedRun],
    extra: Sequence[str] = (),
    checked: dict[str, list[str]] | None = None,
) -> list[SearchPlan]:
    """All searches.

    Args:
        comparison: as read from its file.
        planned: the other runs, which budgets may be those of.
        extra: see ``plan_runs``.
        checked: see ``plan_runs``.

    Raises:
        ComparisonError: every mistake that can be known before the first trial.
    """
    mistakes: list[str] = []
    plans = []
    for search in comparison.searches:
        try:
            plans.append(_plan(comparison, search, planned, extra, {} if checked is None else checked))
        except _SearchError as error:
            mistakes += [f"searches: {search.name}: {line}" for line in error.lines]
    if mistakes:
        raise ComparisonError(str(comparison.path), mistakes)
    return plans


class _SearchError(Exception):
    """What is wrong with one search, a line each."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines


def _plan(
    comparison: Comparison,
    search: Search,
    planned: Sequence[PlannedRun],
    extra: Sequence[str],
    checked: dict[str, list[str]],
) -> SearchPlan:
    row = Entry(search.name, search.overrides, searched=True)
    seed = comparison.seeds[0] if search.seed is None else search.seed
    cfg = _config(comparison, with_weights(row, []), extra)
    _require(unknown("weights", task, tuple(cfg.MTL.TASKS)) for task in search.weights if task not in cfg.MTL.TASKS)
    if all(isinstance(search.weights.get(task), tuple) for task in cfg.MTL.TASKS):
        raise _SearchError(
            f"weights has a range for each of {', '.join(cfg.MTL.TASKS)}, but only ratios matter, as all weights are "
            f"scaled to one sum: give one of them a number, such as {cfg.MTL.TASKS[-1]}: 1.0"
        )
    _require(config_mistakes(cfg, checked))
    criterion = _criterion(search, cfg, seed)
    _require(_unlike(cfg, planned))
    updates, others = cfg.SOLVER.MAX_ITER, [other for other in comparison.seeds if other != seed]
    budget, budget_of = _budget(search, planned)
    count = _count(search, updates, len(others) * updates, budget, budget_of)
    chosen = candidates(search.by, search.weights, cfg.MTL.TASKS, count, seed)
    folder = comparison.output / row.slug
    trials, finals = [], {}
    for name, weights in ((str(i), weights) for i, weights in enumerate(chosen, 1)):
        entry = with_weights(row, weights)
        own = cfg.clone()
        own.MTL.SCALARIZATION.FIXED.WEIGHTS = weights
        trial = replace(entry, name=f"{search.name}{TRIAL}{name}")
        trials.append(Trial(name, weights, planned_run(trial, seed, folder / TRIALS / name, own)))
        finals[name] = tuple(planned_run(entry, s, run_folder(comparison, entry, s), own) for s in others)
    ladder = tuple(rungs(search.by, count, updates))
    return SearchPlan(search, folder, tuple(cfg.MTL.TASKS), tuple(trials), ladder, criterion, budget, budget_of, finals)


def _require(lines: Iterator[str] | Sequence[str]) -> None:
    found = list(lines)
    if found:
        raise _SearchError(*found)


def _config(comparison: Comparison, entry: Entry, extra: Sequence[str]) -> CfgNode:
    try:
        return entry_config(comparison, entry, extra)
    except ConfigError as error:
        raise _SearchError(*lines_of(error)) from error


def _criterion(search: Search, cfg: CfgNode, seed: int) -> Criterion:
    """What trials are compared by, which the held-out images must give."""
    if chosen_by_itself(cfg):
        raise _SearchError(
            f"MTL.SELECT_BY {cfg.MTL.SELECT_BY!r} would choose the models, and so the weights, on the test sets: set "
            "MTL.SELECT_ON to 'validation' for all methods, with MTL.DATA.VALIDATION_SHARE and TEST.EVAL_PERIOD > 0"
        )
    if not cfg.MTL.DATA.VALIDATION_SHARE:
        raise _SearchError(
            "MTL.DATA.VALIDATION_SHARE is 0, so that there are no images to choose weights on but the test sets: set "
            "it in `overrides`, for all methods, to 0.05"
        )
    own = cfg.clone()
    own.defrost()
    by = search.select or (cfg.MTL.SELECT_BY if selects_on_held_out(cfg) else "")
    own.MTL.SELECT_BY, own.MTL.SELECT_ON = by, HELD_OUT
    own.MTL.SELECT_REFERENCE = search.reference or cfg.MTL.SELECT_REFERENCE
    own.SEED, own.DATASETS.TEST = seed, ()
    try:
        criteria = read_criteria(own)
        if len(criteria) != 1 and (search.select or not criteria):
            raise _SearchError(f"select must be one criterion, such as 'bbox/AP + sem_seg/mIoU', got {by!r}")
        with tempfile.TemporaryDirectory() as folder:
            own.OUTPUT_DIR = folder
            rehearse(own)
    except (ValueError, DataError) as error:
        lines = str(error).splitlines()
        raise _SearchError(*(line.replace("MTL.SELECT_BY", "select", 1) for line in lines)) from error
    return criteria[0]


def _unlike(cfg: CfgNode, planned: Sequence[PlannedRun]) -> Iterator[str]:
    """What other methods may do and the search may not: choose by the test sets, train on what it is judged on."""
    texts = {run.entry.name: run.config for run in planned}
    configs = {name: CfgNode.load_cfg(text) for name, text in texts.items()}
    by_tests = [name for name, own in configs.items() if chosen_by_itself(own)]
    if by_tests:
        yield (
            f"{', '.join(by_tests)} choose their models by the test sets, as no search may: set their MTL.SELECT_ON to "
            "'validation'"
        )
    shares: dict[float, list[str]] = {}
    for name, own in configs.items():
        shares.setdefault(own.MTL.DATA.VALIDATION_SHARE, []).append(name)
    share = cfg.MTL.DATA.VALIDATION_SHARE
    for other, names in shares.items():
        if other != share:
            yield (
                f"MTL.DATA.VALIDATION_SHARE is {share} here and {other} in {', '.join(names)}, which are then trained "
                "on other images: set it in `overrides`, for all methods"
            )


def _budget(search: Search, planned: Sequence[PlannedRun]) -> tuple[int, str]:
    """Updates, and what makes as many."""
    if isinstance(search.budget, int):
        return search.budget, ""
    methods, grids = Counter[str](), Counter[str]()
    for run in planned:
        methods[run.entry.name] += run.updates
        grids.update({run.entry.grid: run.updates} if run.entry.grid else {})
    costs = methods | grids  # of a method and a grid of one name the larger
    if isinstance(search.budget, str):
        if search.budget not in costs:
            raise _SearchError(unknown("budget", search.budget, tuple(costs)))
        if search.budget in methods and search.budget in grids:
            raise _SearchError(
                f"budget is {search.budget!r}, which is both a method and a grid: name one of them otherwise, or give "
                "a number of updates"
            )
        return costs[search.budget], search.budget
    baselines = {run.entry.name for run in planned if run.entry.baseline}
    compared = {name: updates for name, updates in costs.items() if name not in baselines}
    if not compared:
        raise _SearchError("budget must be a number of updates, since the file has no methods and no grids")
    name = max(compared, key=compared.__getitem__)
    return compared[name], name


def _count(search: Search, updates: int, finals: int, budget: int, budget_of: str) -> int:
    """How many candidates there are."""
    ranges = sum(isinstance(weights, tuple) for weights in search.weights.values())
    told = f"budget {budget}" + (f" ({budget_of})" if budget_of else "")
    others = f"the winner's other {finals // updates} runs {finals}"
    affordable = most_candidates(search.by, ranges, updates, budget - finals)
    wanted = search.candidates
    if wanted is not None and search.by == GRID and points_per_range(wanted, ranges) ** ranges != wanted:
        raise _SearchError(f"candidates of a grid over {ranges} ranges must be p^{ranges} for a whole p, got {wanted}")
    fewest = 2**ranges if search.by == GRID else 2
    needed = cost(rungs(search.by, fewest if wanted is None else wanted, updates))
    if wanted is not None and needed + finals > budget:
        fits = f"at most {affordable} candidates, or " if affordable else ""
        raise _SearchError(
            f"candidates: {wanted} cost {needed} updates and {others}, but the {told} is less than {needed + finals}: "
            f"give {fits}a budget of at least {needed + finals}"
        )
    if wanted is None and affordable < fewest:
        raise _SearchError(
            f"the {told} leaves nothing to search with: {fewest} candidates cost {needed} updates and {others}: give a "
            f"budget of at least {needed + finals}"
        )
    return affordable if wanted is None else wanted
