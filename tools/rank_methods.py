#!/usr/bin/env python3
"""Ranks methods over several data sets: Friedman's test, and the critical-difference diagram of Demšar (2006).

tools/rank_methods.py COMPARISON COMPARISON ... [--by mclgs|cagrad|sta|acc|metrics] [--methods NAME ...]
                      [--output DIR] [--format png|pdf|svg] [--files DIR]

A COMPARISON is a file that tools/compare.py was given, or a folder that it wrote, each of another data set; methods are
the same by name. Nothing is trained. docs/comparing.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mtl_d2.comparison.collect import Collected, collect_all
from mtl_d2.comparison.data_sets import BY, rank_all
from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.comparison.paper_figure import SILENT
from mtl_d2.comparison.ranks_page import verdict, write_ranks
from mtl_d2.comparison.spec import read_comparison
from mtl_d2.files import refusal
from mtl_d2.zoo.compared import comparison_files

FILES = Path(__file__).resolve().parents[1] / "configs" / "comparisons"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="+", type=Path, metavar="COMPARISON", help="file, or folder of its runs")
    parser.add_argument("--by", choices=BY, default=BY[0], help="convention of Delta, or metrics: mean rank in them")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument("--output", type=Path, default=Path("output/ranks"), metavar="DIR", help="(output/ranks)")
    parser.add_argument("--format", choices=list(SILENT), default="png", help="of the figure's file (png)")
    parser.add_argument(
        "--files", type=Path, default=FILES, metavar="DIR", help="where files of folders are looked for"
    )
    return parser.parse_args(arguments)


def collected(given: Path, files: Path) -> Collected:
    """The runs of a comparison, by its file or by its folder.

    Raises:
        ComparisonError: it is neither, or makes no sense.
    """
    if not given.is_dir():
        return collect_all(read_comparison(given))
    named = comparison_files(files)
    if given.resolve().name not in named:
        line = f"no file in {files} writes into a folder of that name; give the file, or its folder by --files"
        raise ComparisonError(str(given), [line])
    return collect_all(read_comparison(named[given.resolve().name], str(given)))


def main(args: argparse.Namespace) -> None:
    """Reads, ranks, writes, and says what came out."""
    ranking, notes = rank_all([collected(given, args.files) for given in args.comparisons], args.by, args.methods)
    page = write_ranks(args.output, ranking, args.by, notes, args.format)
    for line in (verdict(ranking), *notes):
        print(line)
    print(f"look at {page}")


if __name__ == "__main__":
    try:
        main(parse())
    except ComparisonError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not refusal(error):
            raise
        sys.exit(f"error: {refusal(error)}")
