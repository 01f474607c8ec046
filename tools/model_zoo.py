#!/usr/bin/env python3
"""Makes the page of trained models from the folders of finished trainings and comparisons.

tools/model_zoo.py FOLDER... [--output docs/MODEL_ZOO.md] [--check] [--comparisons DIR]

A FOLDER is OUTPUT_DIR of tools/train_net.py, the folder of a comparison, or one that has such folders in it. Runs that
are not finished, or whose files do not belong together, are named on the page with the reason. Images of training sets
are counted where the sets are registered and found, by DETECTRON2_DATASETS for example. The exit status is 1 where
there is nothing to show, or with --check if the page is not what the folders give.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from mtl_d2.comparison.errors import ComparisonError
from mtl_d2.config import ConfigError
from mtl_d2.files import refusal, write_atomically
from mtl_d2.zoo.zoo import ZooError, model_zoo

ROOT = Path(__file__).resolve().parents[1]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of trainings or comparisons")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "MODEL_ZOO.md", help="page (docs/MODEL_ZOO.md)")
    parser.add_argument("--check", action="store_true", help="write nothing, and say whether the page is up to date")
    parser.add_argument(
        *("--comparisons",), type=Path, metavar="DIR", default=ROOT / "configs" / "comparisons",
        help="the files of comparisons, which are found by their output's name (configs/comparisons)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """Writes the page, or says whether it is old."""
    logging.getLogger("detectron2").setLevel(logging.WARNING)  # it tells of every reading of a data set
    text, left_out = model_zoo(args.folders, ROOT, args.comparisons)
    for name, reason in sorted(left_out.reasons.items()):
        print(f"left out: {name}: {reason}")
    if args.check:
        same = args.output.is_file() and args.output.read_text(encoding="utf-8") == text
        print(f"{args.output} is {'up to date' if same else 'old: run the same without --check'}")
        return int(not same)
    print(f"wrote {write_atomically(args.output, text)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(parse()))
    except (ZooError, ComparisonError, ConfigError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not refusal(error):
            raise
        sys.exit(f"error: {refusal(error)}")
