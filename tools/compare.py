#!/usr/bin/env python3
"""Trains several methods with several seeds and compares them: tables with standard errors, Delta, curves, cost.

tools/compare.py FILE [--jobs N] [--only-tables] [--retry-failed] [--rerun-changed] [--output DIR] [KEY VALUE ...]
tools/compare.py FILE --share                                  # on several machines with one folder
tools/compare.py FILE --executor slurm --slurm time=240 ...    # jobs that outlive this command; --cancel ends them

FILE says what is compared: docs/comparing.md. What is finished is not repeated, and what was stopped goes on: to
continue a comparison, give the same command again. KEY VALUE pairs are for all runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType

import torch

from mtl_d2.comparison.collect import Collected, collect, collect_all
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.executors import EXECUTORS, Choice, make_cluster, make_runner
from mtl_d2.comparison.job_records import read_record
from mtl_d2.comparison.page import write_tables
from mtl_d2.comparison.plan import PlannedRun, plan_runs
from mtl_d2.comparison.progress import Progress, Ration
from mtl_d2.comparison.runner import Runner
from mtl_d2.comparison.search_course import passed_by, record, trial_result, waves
from mtl_d2.comparison.search_plan import SearchPlan, plan_searches
from mtl_d2.comparison.spec import Comparison, read_comparison
from mtl_d2.comparison.state import CONSOLE, FAILED, FINISHED, changes, read_outcome, set_aside
from mtl_d2.comparison.submitted import cancel_all
from mtl_d2.comparison.tables import DECIMALS, metric_title
from mtl_d2.files import refusal
from mtl_d2.locks import is_locked
from mtl_d2.report.precision import metric_precision
from mtl_d2.report.tables import duration

TRAIN = Path(__file__).resolve().parent / "train_net.py"
SHOW_PERIOD = 5.0  # seconds between two looks at the progress, on a terminal


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="comparison file (YAML)")
    parser.add_argument("--jobs", type=int, help="runs at a time; they divide cores and GPUs (1; of slurm: all)")
    parser.add_argument("--only-tables", action="store_true", help="start nothing; make page and tables again")
    parser.add_argument("--retry-failed", action="store_true", help="go on with runs that ended with an error")
    parser.add_argument("--rerun-changed", action="store_true", help="begin runs anew whose config has changed since")
    parser.add_argument("--output", help="folder to use instead of the file's")
    parser.add_argument(
        "--executor", choices=EXECUTORS, default="process", help="who trains: docs/comparing.md (process)"
    )
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE", help="of --executor slurm: time=240"
    )
    parser.add_argument("--share", action="store_true", help="train what no other machine with this folder trains")
    parser.add_argument("--cancel", action="store_true", help="end all jobs that the comparison has")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config values for all runs")
    args = parser.parse_intermixed_args(arguments)
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    return args


def main(args: argparse.Namespace) -> int:
    """Plans, runs, writes the tables; 1 if a run has failed."""
    comparison = read_comparison(args.file, args.output)
    if args.cancel:
        return cancel(comparison)
    choice = Choice(args.executor, args.share, tuple(args.slurm), args.rerun_changed)
    choice.parameters()
    planned, plans = [], []
    if comparison.base and not args.only_tables:
        checked: dict[str, list[str]] = {}
        planned = plan_runs(comparison, args.opts, checked)
        plans = plan_searches(comparison, planned, args.opts, checked)
    try:
        if planned or plans:
            trials = [trial.run for plan in plans for trial in plan.trials]
            passed = {label: line for plan in plans for label, line in passed_by(plan).items()}
            prepare([*planned, *trials], args.rerun_changed, choice.alone, passed)
            for wave in waves(planned, plans, args.retry_failed):
                prepare(wave, args.rerun_changed, choice.alone)
                train(wave, plans, comparison, args, choice)
    except KeyboardInterrupt:
        tables(comparison, plans)
        say(left_behind(args) if choice.outlives else "stopped; the same command goes on from the last checkpoints")
        return 130
    collected, page = tables(comparison, plans)
    for note in collected.notes:
        say(note)
    say(f"{sum(len(row.finished) for row in collected.rows)} finished runs; look at {page}")
    failed = any(run.outcome.state == FAILED for row in collected.rows for run in row.records)
    return int(failed or any(search.decided and not search.winner for search in collected.searches.values()))


def prepare(
    planned: Sequence[PlannedRun],
    rerun_changed: bool,
    alone: bool = True,
    also: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Makes sure that every folder is ours, and holds the run that is planned.

    Args:
        planned: all runs.
        rerun_changed: whether those with another config begin anew.
        alone: whether nothing else may train in the folders; else that is so for those that begin anew.
        also: by label, what besides a config has changed of some.

    Raises:
        ComparisonError: one line for each folder where it is not so.
    """
    configs = {run.label: keys for run in planned if (keys := changes(run.folder, run.config))}
    changed = {**also, **{label: f"its config has changed: {'; '.join(keys)}" for label, keys in configs.items()}}
    mistakes = [f"{label}: {line}" for label, line in changed.items()]
    if mistakes:
        mistakes.append("undo that, give another --output, or have these runs begin anew with --rerun-changed")
    own = [run for run in planned if run.folder.is_dir() and (alone or (rerun_changed and run.label in changed))]
    unfinished = [run for run in own if read_outcome(run.folder).state not in (FINISHED, FAILED)]
    jobs = {run.label: record for run in unfinished if (record := read_record(run.folder))}
    busy = [run for run in own if run.label not in jobs and is_locked(run.folder)]
    held = [f"{run.label}: another process trains in {run.folder}; wait for it or end it" for run in busy]
    held += [
        f"{label}: it is job {job.job} of --executor {job.executor}; give that, or --cancel it first"
        for label, job in jobs.items()
    ]
    if held or (mistakes and not rerun_changed):
        raise ComparisonError("the comparison's folder", [*held, *([] if rerun_changed else mistakes)])
    for run in planned:
        if run.label in changed:
            say(f"{run.label} begins anew; what was there is in {set_aside(run.folder)}")


def train(
    planned: Sequence[PlannedRun],
    plans: Sequence[SearchPlan],
    comparison: Comparison,
    args: argparse.Namespace,
    choice: Choice,
) -> None:
    """Does what is not done yet of some runs; the page grows with them, as often as it is cheap."""
    over = (FINISHED,) if args.retry_failed else (FINISHED, FAILED)
    due = [run for run in planned if read_outcome(run.folder).state not in over]
    jobs = max(min(args.jobs or (len(due) if choice.executor == "slurm" else 1), len(due)), 1)
    progress, page = Progress(planned), Ration()
    say(f"{len(planned)} runs, {len(due)} to do, {jobs} at a time; logs are {comparison.output}/METHOD/SEED/{CONSOLE}")
    arguments = {run.folder.resolve(): run.arguments for run in planned}
    processes = Runner(
        lambda config: [*command(config), *arguments[config.parent.resolve()]],
        jobs,
        gpus(),
        len(os.sched_getaffinity(0)),
    )
    runner = make_runner(choice, processes, comparison.output)
    stale = False

    def tick() -> None:
        nonlocal stale
        show(progress)
        if stale and page.due:
            page.spend(lambda: tables(comparison, plans))
            stale = False

    with contextlib.closing(runner(due, tick)) as ended:
        for run in ended:
            stale = True
            say(f"{run.label}: {result(run, comparison, plans)}; {progress.line()}")


def cancel(comparison: Comparison) -> int:
    """Ends all jobs; their runs go on from their last checkpoints when they are asked for again."""
    ids = cancel_all(comparison.output, lambda executor: make_cluster(executor, comparison.output))
    say(f"cancelled: job {', '.join(ids)}" if ids else "there is no job to cancel")
    return 0


def left_behind(args: argparse.Namespace) -> str:
    """What goes on without this command, and how to end it."""
    output = ["--output", args.output] if args.output else []
    words = shlex.join([sys.argv[0], args.file, *output, "--cancel"])
    return f"stopped waiting; the jobs go on, and the same command waits for them again; to end them: {words}"


def result(run: PlannedRun, comparison: Comparison, plans: Sequence[SearchPlan] = ()) -> str:
    """How a run ended, with its metrics."""
    outcome = read_outcome(run.folder)
    if outcome.state != FINISHED:
        return f"{outcome.state}: {outcome.reason}"
    if run.arguments:
        return trial_result(run, plans)
    collected = collect(replace(comparison, entries=(run.entry,)), {run.entry.name: {str(run.seed): run.folder}})
    metrics = collected.rows[0].records[0].metrics
    there = {m.name: metrics[m.name] for m in collected.metrics if m.name in metrics}
    figures = [f"{metric_title(name)} {metric_precision(name, [v], DECIMALS)(v)}" for name, v in there.items()]
    return ", ".join([f"finished in {duration(outcome.seconds)}", *figures])


def tables(comparison: Comparison, plans: Sequence[SearchPlan] = ()) -> tuple[Collected, Path]:
    """The page and the tables of what there is now."""
    for plan in plans:
        record(plan)
    collected = collect_all(comparison)
    return collected, write_tables(collected)


def command(config: Path) -> list[str]:
    """A training by ``config``, or the rest of it."""
    return [sys.executable, str(TRAIN), "--resume", "--config-file", str(config)]


def gpus() -> list[str]:
    """CUDA devices that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(i) for i in range(torch.cuda.device_count())] if given is None else given.split(",") if given else []


def show(progress: Progress) -> None:
    """A line that the next one overwrites, on a terminal, every few seconds."""
    if sys.stdout.isatty() and progress.due(SHOW_PERIOD):
        print(f"\r\033[K{progress.line()}", end="", flush=True)


def say(text: str) -> None:
    """A line of its own."""
    print(("\r\033[K" if sys.stdout.isatty() else "") + text, flush=True)


def told(error: OSError) -> str:
    """A sentence if a full disk or another command in the same folder has ended this one; empty if something else."""
    return str(error) if isinstance(error, BlockingIOError) and error.errno is None else refusal(error)


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a comparison as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main(parse()))
    except ComparisonError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not told(error):
            raise
        sys.exit(f"error: {told(error)}")
