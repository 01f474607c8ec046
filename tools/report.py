#!/usr/bin/env python3
"""Makes the report of a run, finished or not, from the files in its folder: `python tools/report.py --run OUTPUT_DIR`.

With `--watch` the page is written again whenever the run has logged more, and an open page follows. With `--against`
it shows two runs beside each other.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtl_d2.report.file_names import CONFIG, METRICS, RESULTS

INTERRUPTED = 130  # exit status of what Ctrl-C has ended


def main() -> int:
    """Writes the page and says where it is; 1 if there is no such folder, or nothing of a run in it."""
    arguments = _arguments()
    try:
        if arguments.watch is not None:
            return _watch(arguments)
        if arguments.against:
            return _compare(arguments)
        return _write(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", nargs="?", help="the same as --run")
    parser.add_argument("--run", metavar="OUTPUT_DIR", help="folder of a run, finished or not")
    parser.add_argument("--title", help="heading of the page; by default the folder's name")
    parser.add_argument("--against", metavar="OUTPUT_DIR", help="a second run, to be shown beside the first")
    parser.add_argument("--output", metavar="FILE", help="the page of --against; by default RUN/against_NAME.html")
    parser.add_argument(
        "--watch", nargs="?", type=float, const=10.0, metavar="SECONDS", help="look that often for more (default: 10)"
    )
    arguments = parser.parse_args()
    if bool(arguments.run) == bool(arguments.output_dir):
        parser.error("name the run once, by --run OUTPUT_DIR")
    if arguments.watch is not None and not 0.1 <= arguments.watch <= 86400:
        parser.error(f"--watch must be 0.1 to 86400 seconds, found {arguments.watch:g}")
    if arguments.watch is not None and arguments.against:
        parser.error("--watch follows one run: leave out --against")
    if arguments.output and not arguments.against:
        parser.error("--output is the page of --against; the page of one run is OUTPUT_DIR/report.html")
    arguments.run = Path(arguments.run or arguments.output_dir)
    return arguments


def _write(arguments: argparse.Namespace) -> int:
    if complaint := _complaint(arguments.run):
        print(complaint, file=sys.stderr)
        return 1
    from mtl_d2.report.page import write_report  # takes seconds, of which no mistake needs any, and Ctrl-C counts

    print(write_report(arguments.run, arguments.title))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    other = Path(arguments.against)
    complaints = [complaint for folder in (arguments.run, other) if (complaint := _complaint(folder))]
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        return 1
    from mtl_d2.report.two_runs import run_names, write_two_runs

    name = run_names(arguments.run, other)[1].replace("/", "_")
    output = Path(arguments.output) if arguments.output else arguments.run / f"against_{name}.html"
    print(write_two_runs(arguments.run, other, output, arguments.title))
    return 0


def _watch(arguments: argparse.Namespace) -> int:
    from mtl_d2.report.watch import watch

    if arguments.run.exists() and not arguments.run.is_dir():
        print(f"{arguments.run} is no folder: pass a run's OUTPUT_DIR", file=sys.stderr)
        return 1
    watch(arguments.run, arguments.title, arguments.watch, lambda line: print(line, flush=True))
    return INTERRUPTED


def _complaint(folder: Path) -> str:
    """Why a folder has no run in it; empty if it has."""
    if not folder.is_dir():
        return f"{folder} is no folder: pass a run's OUTPUT_DIR"
    if not any((folder / name).exists() for name in (CONFIG, METRICS, RESULTS)):
        return f"{folder} is no run's OUTPUT_DIR: it has no {CONFIG}, {METRICS} or {RESULTS}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
