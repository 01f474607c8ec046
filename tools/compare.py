#!/usr/bin/env python3
"""Trains several methods with several seeds and compares them: tables with standard errors, Delta, curves, cost.

tools/compare.py FILE [--jobs N] [--only-tables] [--retry-failed] [--rerun-changed] [--output DIR] [KEY VALUE ...]

FILE says what is compared: docs/comparing.md. What is finished is not repeated, and what was stopped goes on: to
continue a comparison, give the same command again. KEY VALUE pairs are for all runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch

from mtl_d2.comparison.collect import Collected, collect_all
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.page import write_tables
from mtl_d2.comparison.plan import PlannedRun, plan_runs
from mtl_d2.comparison.progress import Progress
from mtl_d2.comparison.runner import Runner
from mtl_d2.comparison.spec import Comparison, read_comparison
from mtl_d2.comparison.state import CONSOLE, FAILED, FINISHED, changes, read_outcome, set_aside
from mtl_d2.comparison.tables import DECIMALS, metric_title
from mtl_d2.locks import is_locked
from mtl_d2.report.precision import metric_precision
from mtl_d2.report.tables import duration

TRAIN = Path(__file__).resolve().parent / "train_net.py"
SHOW_PERIOD = 5.0  # seconds between two looks at the progress, on a terminal


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="comparison file (YAML)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they divide cores and GPUs (1)")
    parser.add_argument("--only-tables", action="store_true", help="start nothing; make page and tables again")
    parser.add_argument("--retry-failed", action="store_true", help="go on with runs that ended with an error")
    parser.add_argument("--rerun-changed", action="store_true", help="begin runs anew whose config has changed since")
    parser.add_argument("--output", help="folder to use instead of the file's")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config values for all runs")
    args = parser.parse_intermixed_args(arguments)
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    return args


def main(args: argparse.Namespace) -> int:
    """Plans, runs, writes the tables; 1 if a run has failed."""
    comparison = read_comparison(args.file, args.output)
    planned = plan_runs(comparison, args.opts) if comparison.base and not args.only_tables else []
    try:
        if planned:
            prepare(planned, args.rerun_changed)
            train(planned, comparison, args)
    except KeyboardInterrupt:
        tables(comparison)
        say("stopped; the same command goes on from the last checkpoints")
        return 130
    collected, page = tables(comparison)
    for note in collected.notes:
        say(note)
    say(f"{sum(len(row.finished) for row in collected.rows)} finished runs; look at {page}")
    return int(any(record.outcome.state == FAILED for row in collected.rows for record in row.records))


def prepare(planned: Sequence[PlannedRun], rerun_changed: bool) -> None:
    """Makes sure that every folder is ours, and holds the run that is planned.

    Raises:
        ComparisonError: one line for each folder where it is not so.
    """
    changed = {run.label: keys for run in planned if (keys := changes(run.folder, run.config))}
    mistakes = [f"{label}: its config has changed: {'; '.join(keys)}" for label, keys in changed.items()]
    if mistakes:
        mistakes.append("undo that, give another --output, or have these runs begin anew with --rerun-changed")
    busy = [run for run in planned if run.folder.is_dir() and is_locked(run.folder)]
    held = [f"{run.label}: another process trains in {run.folder}; wait for it or end it" for run in busy]
    if held or (mistakes and not rerun_changed):
        raise ComparisonError("the comparison's folder", [*held, *([] if rerun_changed else mistakes)])
    for run in planned:
        if run.label in changed:
            say(f"{run.label} begins anew; what was there is in {set_aside(run.folder)}")


def train(planned: Sequence[PlannedRun], comparison: Comparison, args: argparse.Namespace) -> None:
    """Does what is not done yet; the page grows with every run."""
    over = (FINISHED,) if args.retry_failed else (FINISHED, FAILED)
    due = [run for run in planned if read_outcome(run.folder).state not in over]
    jobs = max(min(args.jobs, len(due)), 1)
    progress = Progress(planned)
    say(f"{len(planned)} runs, {len(due)} to do, {jobs} at a time; logs are {comparison.output}/METHOD/SEED/{CONSOLE}")
    runner = Runner(command, jobs, gpus(), len(os.sched_getaffinity(0)))
    with contextlib.closing(runner(due, lambda: show(progress))) as ended:
        for run in ended:
            collected, _ = tables(comparison)
            say(f"{run.label}: {result(run, collected)}; {progress.line()}")


def result(run: PlannedRun, collected: Collected) -> str:
    """How a run ended, with its metrics."""
    outcome = read_outcome(run.folder)
    if outcome.state != FINISHED:
        return f"{outcome.state}: {outcome.reason}"
    row = next(row for row in collected.rows if row.entry == run.entry)
    metrics = next(record.metrics for record in row.records if record.seed == str(run.seed))
    there = {m.name: metrics[m.name] for m in collected.metrics if m.name in metrics}
    figures = [f"{metric_title(name)} {metric_precision(name, [v], DECIMALS)(v)}" for name, v in there.items()]
    return ", ".join([f"finished in {duration(outcome.seconds)}", *figures])


def tables(comparison: Comparison) -> tuple[Collected, Path]:
    """The page and the tables of what there is now."""
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


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a comparison as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main(parse()))
    except ComparisonError as error:
        sys.exit(f"error: {error}")
