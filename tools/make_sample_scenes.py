"""Renders street scenes with labels that agree to the pixel, in published data sets' layouts.

    python tools/make_sample_scenes.py --root datasets/sample --train 400 --val 100 --size 320x192 --seed 0
    python tools/make_sample_scenes.py --statistics datasets/sample

See docs/sample_scenes.md. The same arguments give the same bytes; a finished root is left alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

from mtl_d2.data.sample_scenes.generate import LAYOUTS, SHEET, Request, generate, is_finished
from mtl_d2.data.sample_scenes.presets import PRESETS
from mtl_d2.data.sample_scenes.statistics import statistics


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder to write to")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="number of training images")
    parser.add_argument("--val", type=int, default=0, metavar="N", help="number of validation images")
    parser.add_argument("--size", default="320x192", metavar="WxH", help="width and height in pixels (default 320x192)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="0 or more (default 0)")
    parser.add_argument("--preset", default="easy", help=f"{' or '.join(PRESETS)} (default easy)")
    parser.add_argument("--layouts", default=",".join(LAYOUTS), help="comma-separated (default %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=_processors(), metavar="J", help="processes (default: all processors)"
    )
    parser.add_argument("--statistics", type=Path, metavar="DIR", help="measure the scenes in DIR instead, as Markdown")
    return parser


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _request(args: argparse.Namespace) -> Request:
    """Reads the arguments.

    Raises:
        ValueError: an argument breaks its rule.
    """
    if args.root is None:
        raise ValueError("root is missing: say where to write, e.g. --root datasets/sample")
    size = re.fullmatch(r"(\d+)x(\d+)", args.size)
    if size is None:
        raise ValueError(f"size must be WxH, e.g. 320x192, but is {args.size!r}")
    layouts = tuple(name for name in args.layouts.split(",") if name)
    return Request(args.train, args.val, (int(size[1]), int(size[2])), args.seed, args.preset, layouts)


def _make(args: argparse.Namespace) -> None:
    request = _request(args)
    if is_finished(args.root, request):
        print(f"{args.root}: these sample scenes are there already")
        return
    total, start = request.train + request.val, time.monotonic()
    step = max(1, total // 10)

    def progress(done: int) -> None:
        if done % step == 0 and done < total:
            rate = done / (time.monotonic() - start)
            print(f"  {done}/{total} images, {rate:.1f} a second", flush=True)

    print(
        f"{args.root}: rendering {total} {request.preset} scenes of {args.size} ({', '.join(request.layouts)})",
        flush=True,
    )
    generate(args.root, request, args.jobs, progress)
    took = time.monotonic() - start
    print(f"{args.root}: {total} images in {took:.1f} s, {total / took:.1f} a second with {args.jobs} processes")
    print(f"look at {args.root / SHEET}")


def main() -> int:
    """Runs the command; returns its exit status."""
    args = _parser().parse_args()
    try:
        if args.statistics is not None:
            print(statistics(args.statistics))
        else:
            _make(args)
    except (ValueError, OSError) as error:
        print(f"make_sample_scenes: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make_sample_scenes: interrupted; the same command makes the scenes anew", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
