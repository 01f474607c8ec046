#!/usr/bin/env python3
"""Draws the figures of the papers from the runs of a comparison, finished or not.

tools/paper_figures.py FILE [--output DIR] [--only NAME ...] [--epoch UPDATES] [--images N] [--score S]
                       [--format png|pdf|svg]

FILE is the comparison file that tools/compare.py was given. The figures and a page, figures.html, are written into
OUTPUT/figures; what a run lacks for one of them is told, with the key that has it logged. docs/comparing.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from mtl_d2.comparison.angle_figures import angles_between_tasks, angles_of_consecutive_updates, cosines_and_weights
from mtl_d2.comparison.collect import Collected, collect_all
from mtl_d2.comparison.delta_figure import delta_over_time
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.figure_files import FOLDER, PAGE, write_figures
from mtl_d2.comparison.loss_figures import inner_step_shares, loss_shares
from mtl_d2.comparison.notes import unfinished
from mtl_d2.comparison.paper_figure import SILENT, PaperFigure
from mtl_d2.comparison.qualitative import qualitative_rows
from mtl_d2.comparison.spec import read_comparison

Drawing = Callable[[Collected, argparse.Namespace], Sequence[PaperFigure]]
DRAWINGS: dict[str, Drawing] = {
    "angles": lambda runs, args: [angles_between_tasks(runs)],
    "consecutive": lambda runs, args: [angles_of_consecutive_updates(runs)],
    "weights": lambda runs, args: cosines_and_weights(runs),
    "delta": lambda runs, args: [delta_over_time(runs, args.epoch)],
    "shares": lambda runs, args: [loss_shares(runs)],
    "inner": lambda runs, args: inner_step_shares(runs),
    "predictions": lambda runs, args: qualitative_rows(runs, args.images, args.score),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="comparison file (YAML)")
    parser.add_argument("--output", help="folder of the comparison, instead of the file's")
    parser.add_argument("--only", nargs="+", choices=list(DRAWINGS), default=list(DRAWINGS), help="these alone")
    parser.add_argument("--epoch", type=int, default=1, metavar="UPDATES", help="in an epoch, for its time (1)")
    parser.add_argument("--images", type=int, default=2, metavar="N", help="of each test set (2)")
    parser.add_argument("--score", type=float, default=0.3, help="of the boxes that are drawn, at least (0.3)")
    parser.add_argument("--format", choices=list(SILENT), default="png", help="of the files (png)")
    args = parser.parse_args(arguments)
    for name in ("epoch", "images"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the runs, draws, and says what is not there."""
    args = parse(arguments)
    comparison = read_comparison(args.file, args.output)
    collected = collect_all(comparison)
    figures = [figure for name in args.only for figure in DRAWINGS[name](collected, args)]
    folder = comparison.output / FOLDER
    notes = unfinished(collected)
    paths = write_figures(folder, comparison.title, figures, args.format, notes)
    for line in (*notes, *(f"{figure.name}: {lack}" for figure in figures for lack in figure.lacks)):
        print(line)
    print(f"{len(paths)} figures; look at {folder / PAGE}")


if __name__ == "__main__":
    try:
        main()
    except ComparisonError as error:
        sys.exit(f"error: {error}")
