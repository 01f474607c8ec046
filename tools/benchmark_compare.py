#!/usr/bin/env python3
"""Measures what tools/compare.py itself costs: its CPU time, as a share of the time of the runs that it has trained.

tools/benchmark_compare.py [--runs 40] [--seconds 60] [--jobs 2] [--rows 500] [--executor process|local]

The runs are made up: each takes so many seconds, in which it writes the log and the results of a training and does
nothing else, so that the figures hold beside others on the machine. Imports, planning, the checks of configs and data,
waiting and all pages count as the command's own. See docs/comparing.md.
"""

from __future__ import annotations

import time

BEGAN = time.process_time()

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from unittest.mock import patch  # noqa: E402

import compare  # noqa: E402
import yaml  # noqa: E402

from mtl_d2.comparison.errors import ComparisonError  # noqa: E402
from mtl_d2.comparison.state import FINISHED, read_outcome  # noqa: E402
from mtl_d2.data.sample_scenes.generate import Request, generate  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RUN = Path(__file__).with_name("benchmark_compare_run.py")
SEEDS = 2
UPDATES = 10_000


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help=f"a multiple of {SEEDS} (40)")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a run takes (60)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--rows", type=int, default=500, help="of a run's log (500)")
    parser.add_argument("--executor", choices=("process", "local"), default="process", help="compare.py's (process)")
    args = parser.parse_args(arguments)
    if args.runs < SEEDS or args.runs % SEEDS:
        parser.error(f"--runs must be a multiple of {SEEDS}, got {args.runs}")
    return args


def write_comparison(folder: Path, args: argparse.Namespace) -> Path:
    """A comparison of ``runs / SEEDS`` methods, with data of its own."""
    generate(folder / "scenes", Request(train=6, val=3, size=(160, 96), layouts=("bdd100k",), seed=1))
    os.environ["DETECTRON2_DATASETS"] = str(folder / "scenes")
    methods = {f"method {i}": {"SOLVER.BASE_LR": 0.001 * (i + 1)} for i in range(args.runs // SEEDS)}
    path = folder / "comparison_file.yaml"
    content = {
        "base": str(ROOT / "configs" / "sample_scenes_mclgs.yaml"),
        "output": str(folder / "out"),
        "seeds": list(range(1, SEEDS + 1)),
        "overrides": {"SOLVER": {"MAX_ITER": UPDATES, "STEPS": [UPDATES - 1], "CHECKPOINT_PERIOD": UPDATES}},
        "methods": methods,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


class Meter:
    """CPU seconds of a function's calls, and their number."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Measures calls of ``function`` that go through this."""
        self.function = function
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, *given: Any) -> Any:
        """Calls it."""
        before = time.process_time()
        result = self.function(*given)
        self.calls += 1
        self.seconds += time.process_time() - before
        return result


def main(args: argparse.Namespace) -> int:
    """One comparison, and a table of what it cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = time.process_time()
        file = write_comparison(folder, args)
        data = time.process_time() - before
        words = [str(part) for part in (args.seconds, args.rows, UPDATES)]
        pages, start = Meter(compare.tables), Meter(compare.plan_runs)
        with patch.multiple(
            compare,
            command=lambda config: [sys.executable, "-S", str(RUN), str(config), *words],
            tables=pages,
            plan_runs=start,
        ):
            compare.main(compare.parse([str(file), "--jobs", str(args.jobs), "--executor", args.executor]))
        total = time.process_time() - BEGAN - data
        outcomes = [read_outcome(path.parent) for path in (folder / "out").glob("*/*/outcome.json")]
    finished = [outcome.seconds for outcome in outcomes if outcome.state == FINISHED]
    own = sum(finished)
    print(f"{len(finished)} runs, {own:.0f} seconds\n")
    print("| | CPU s | share of the runs' time |\n| --- | ---: | ---: |")
    for title, seconds in (
        (f"planning and checks of {args.runs} runs", start.seconds),
        (f"{pages.calls} pages", pages.seconds),
        ("imports, waiting, lines", total - pages.seconds - start.seconds),
        ("all", total),
    ):
        print(f"| {title} | {seconds:.1f} | {seconds / own:.2%} |")
    return int(len(finished) != args.runs)


if __name__ == "__main__":
    try:
        sys.exit(main(parse()))
    except ComparisonError as error:
        sys.exit(f"error: {error}")
