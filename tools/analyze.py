#!/usr/bin/env python3
"""Which layers of a trained network its tasks disagree in, and what to try: docs/analysis.md.

tools/analyze.py --run output/demo/mclgs                          # all checkpoints, 16 batches each
tools/analyze.py --run RUN --checkpoints final --split train --batches 64

Writes analysis.md, .png, .csv and .json to DIR, after each checkpoint anew, so that Ctrl-C leaves what is known.
Nothing else in the run's folder changes. The exit status is 0 if all was analyzed, 1 if a part could not be, 2 if
nothing was.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mtl_d2.command_line import end_imports_quietly, run_tool

if __name__ == "__main__":
    end_imports_quietly()

from mtl_d2.analysis.batches import TRAIN, VALIDATION
from mtl_d2.analysis.checkpoints import EVERY, checkpoints
from mtl_d2.analysis.errors import AnalysisError
from mtl_d2.analysis.picture import write_picture
from mtl_d2.analysis.run import RunAnalysis, analyze_run, read_config
from mtl_d2.analysis.run_advice import run_advice
from mtl_d2.analysis.tables import csv_table, json_text, markdown
from mtl_d2.config import ConfigError
from mtl_d2.data.errors import DataError
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.engine.pickles import ForbiddenContentError
from mtl_d2.files import WriteError, write_atomically

EXPECTED = (  # what a user can mend
    *(AnalysisError, ConfigError, DataError, CheckpointError),
    *(ForbiddenContentError, WriteError),
)
BOTH = "both"
NAME = "analysis"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--run", required=True, type=Path, metavar="OUTPUT_DIR", help="folder of the training")
    add("--checkpoints", nargs="+", default=[EVERY], metavar="WHICH", help="all, best, final, or files (all)")
    add("--batches", type=int, default=16, metavar="N", help="of each split (16)")
    add("--split", choices=(TRAIN, VALIDATION, BOTH), default=BOTH, help=f"whose images ({BOTH})")
    add("--output", type=Path, metavar="DIR", help=f"folder for the results (OUTPUT_DIR/{NAME})")
    add("--device", help="such as cuda:0 or cpu (the run's)")
    return parser.parse_args(arguments)


def write(known: RunAnalysis, folder: Path) -> None:
    """Writes all files anew."""
    write_picture(known, folder / f"{NAME}.png")
    write_atomically(folder / f"{NAME}.csv", csv_table(known))
    write_atomically(folder / f"{NAME}.json", json_text(known))
    write_atomically(folder / f"{NAME}.md", markdown(known, f"{NAME}.png"))


def prepare(args: argparse.Namespace) -> Path:
    """Checks the arguments and makes the folder of the results."""
    if args.batches < 1:
        raise AnalysisError(f"--batches must be at least 1, got {args.batches}")
    folder = args.output or args.run / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnalysisError(f"--output {folder} cannot be made a folder ({error.strerror}): name another") from error
    return folder


def splits_of(args: argparse.Namespace, has_validation: bool) -> list[str]:
    """Those to analyze; of both only those that there are."""
    if args.split != BOTH:
        return [args.split]
    if not has_validation:
        print("no validation images (MTL.DATA.VALIDATION_SHARE, DATASETS.TEST): on training images alone")
    return [TRAIN, VALIDATION] if has_validation else [TRAIN]


def main(args: argparse.Namespace) -> int:
    """Analyzes; gives the exit status."""
    cfg = read_config(args.run, args.device)
    chosen, faults = checkpoints(args.run, args.checkpoints)
    folder = prepare(args)
    splits = splits_of(args, bool(cfg.MTL.DATA.VALIDATION_SHARE or cfg.DATASETS.TEST))
    print(f"{args.run}: {', '.join(cfg.MTL.TASKS)}; {len(chosen)} checkpoints on {cfg.MODEL.DEVICE}", flush=True)
    start = time.monotonic()

    def told(what: str, number: int, of: int) -> None:
        line = f"{what}: {number} of {of} batches, {time.monotonic() - start:.0f} s"
        if sys.stdout.isatty():
            print(f"\r{line:<79}", end="\n" if number == of else "", flush=True)
        elif number == of:
            print(line, flush=True)

    known = None
    try:
        for known in analyze_run(cfg, args.run, chosen, splits, args.batches, told):
            if known.moments:
                write(known, folder)
    except KeyboardInterrupt:
        print("\nstopped" + (f"; what is known so far: {folder}/{NAME}.md" if known else ""), file=sys.stderr)
        return 130
    assert known is not None
    for line in [*faults, *known.failures]:
        print(f"not analyzed: {line}", file=sys.stderr)
    print(*(f"- {sentence}" for sentence in run_advice(known)), f"{folder}/{NAME}.md", sep="\n")
    return 1 if faults or known.failures else 0


if __name__ == "__main__":
    logging.getLogger("mtl_d2").setLevel(logging.ERROR)
    arguments = parse()
    run_tool(lambda: main(arguments), EXPECTED)
