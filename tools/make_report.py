#!/usr/bin/env python3
"""Makes the report of a run again, from the files in its folder: `python tools/make_report.py OUTPUT_DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtl_d2.report.file_names import CONFIG, METRICS, RESULTS
from mtl_d2.report.page import write_report


def main() -> int:
    """Writes the report and says where it is; 1 if there is no such folder, or nothing of a run in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", help="OUTPUT_DIR of a run, finished or not")
    parser.add_argument("--title", help="heading of the page; by default the folder's name")
    arguments = parser.parse_args()
    folder = Path(arguments.output_dir)
    if folder.is_dir() and not any((folder / name).exists() for name in (CONFIG, METRICS, RESULTS)):
        print(f"{folder} is no run's OUTPUT_DIR: it has no {CONFIG}, {METRICS} or {RESULTS}", file=sys.stderr)
        return 1
    try:
        print(write_report(arguments.output_dir, arguments.title))
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
